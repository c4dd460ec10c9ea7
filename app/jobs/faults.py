"""Records from JSON, with every fault named by where it stands and what the rule is."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum, auto
from typing import Any, TypeAlias, TypeVar, cast, get_args, get_type_hints

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic_core import ErrorDetails

from app.jobs.errors import FieldError, RefusedSpecError
from pruning_core.errors import PruningConfigError

_Model = TypeVar("_Model", bound=BaseModel)
#: Pydantic models and dataclasses. Several of them are a union, told apart by ``kind``.
_Records: TypeAlias = tuple[type[Any], ...]
_Path: TypeAlias = tuple[str | int, ...]

#: Said here, by name and with a suggestion, and not again in pydantic's words.
_SAID = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
_RULES = {
    "bool_type": "must be true or false",
    "float_type": "must be a number",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_type": "must be an integer",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "missing": "must be given",
    "string_type": "must be a string",
    "too_long": "must have at most {max_length} items",
    "too_short": "must not be empty",
    "tuple_type": "must be a list",
}
_EVIDENCE_CHARACTERS = 80


class _Absent(Enum):
    """What stands where nothing was written; null is something."""

    NOTHING = auto()


_Found: TypeAlias = JsonValue | _Absent


def parsed(record: type[_Model], value: JsonValue) -> _Model:
    """Return the record that ``value`` writes down.

    Types are strict: a string is no number, and of the alternatives that ``kind`` tells apart
    only the one that it names is tried.

    Raises:
        RefusedSpecError: with every fault.
    """
    faults = list(_misnamed(value, (record,), ()))
    try:
        found = record.model_validate_json(json.dumps(value))
    except ValidationError as error:
        for details in error.errors(include_url=False):
            faults.extend(_faults(details, value, (record,)))
        raise RefusedSpecError(*dict.fromkeys(faults)) from error
    if faults:
        raise RefusedSpecError(*faults)
    return found


def pointer(path: Sequence[str | int]) -> str:
    """Return the JSON pointer to ``path``; the empty one is the whole document.

    Source: RFC 6901.

    >>> pointer(("layers", 0, "a/b"))
    '/layers/0/a~1b'
    """
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)


def path_of(field: str) -> _Path:
    """Return the path to a setting that the library names by its place.

    >>> path_of("layers/0/schedule")
    ('layers', 0, 'schedule')
    """
    return tuple(int(part) if part.isdecimal() else part for part in field.split("/"))


def received(value: _Found) -> str:
    """Return the evidence, as the caller wrote it, cut where it is long."""
    if value is _Absent.NOTHING:
        return "Received: nothing"
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > _EVIDENCE_CHARACTERS:
        text = f"{text[:_EVIDENCE_CHARACTERS]}…"
    return f"Received: {text}"


def _misnamed(value: JsonValue, records: _Records, path: _Path) -> Iterator[FieldError]:
    """Yield unknown fields, and kinds that are missing or unknown."""
    if isinstance(value, list):
        for place, item in enumerate(value):
            yield from _misnamed(item, records, (*path, place))
    if not isinstance(value, dict) or not records:
        return
    record = _meant(records, value)
    if record is None:
        yield _unknown_kind(records, value, path)
        return
    fields = _fields(record)
    for name, item in value.items():
        if name in fields:
            yield from _misnamed(item, _records_in(fields[name]), (*path, name))
        else:
            yield _unknown_field(name, item, fields, path)


def _unknown_kind(records: _Records, value: dict[str, JsonValue], path: _Path) -> FieldError:
    kinds = list(_kinds(records))
    given = _child(value, "kind")
    message = f"kind must be {_one_of(kinds)}{_suggestion(given, kinds)} {received(given)}"
    return FieldError(pointer((*path, "kind")), message)


def _unknown_field(
    name: str, value: JsonValue, fields: Mapping[str, object], path: _Path
) -> FieldError:
    rule = f"{_name(path)} has no field {json.dumps(name)}"
    message = f"{rule}{_suggestion(name, list(fields))} {received(value)}"
    return FieldError(pointer((*path, name)), message)


def _one_of(words: Sequence[str]) -> str:
    quoted = [json.dumps(word) for word in words]
    if len(quoted) == 1:
        return f"{quoted[0]}, the only one available"
    return f"one of {', '.join(quoted)}"


def _suggestion(given: object, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(given), known, n=1)
    return f"; did you mean {json.dumps(near[0])}?" if near else "."


def _faults(details: ErrorDetails, value: JsonValue, records: _Records) -> Iterator[FieldError]:
    """Yield what one of pydantic's errors says; nothing where it is not about what was meant."""
    if details["type"] in _SAID:
        return
    path = _path(details["loc"], value, records)
    if path is None:
        return
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, PruningConfigError):
        place = (*path, *path_of(cause.field))
        rule, _, evidence = str(cause).partition(". Received: ")
        given = _at(place, value)
        shown = f"Received: {evidence}" if given is _Absent.NOTHING else received(given)
        yield FieldError(pointer(place), f"{rule}. {shown}")
        return
    given = _at(path, value)
    if isinstance(cause, ValueError):
        yield FieldError(pointer(path), f"{cause}. {received(given)}")
        return
    yield FieldError(pointer(path), f"{_name(path)} {_rule(details)}. {received(given)}")


def _rule(details: ErrorDetails) -> str:
    context = details.get("ctx", {})
    if details["type"] == "literal_error" and " or " not in context["expected"]:
        return f"must be {context['expected']}, the only one available"
    rule = _RULES.get(details["type"])
    if rule is None:
        return details["msg"].replace("Input should be", "must be")
    return rule.format(**context)


def _name(path: _Path) -> str:
    match path:
        case ():
            return "the spec"
        case (*_, str(owner), int(place)):
            return f"{owner}[{place}]"
        case _:
            return str(path[-1])


def _path(loc: _Path, value: _Found, records: _Records) -> _Path | None:
    """Return ``loc`` without the names of alternatives; ``None`` in one that was not meant."""
    path: list[str | int] = []
    for part in loc:
        if isinstance(value, dict) and records:
            record = _meant(records, value)
            if record is None:
                return None
            if len(records) > 1:
                if part not in (record.__name__, _kind(record)):
                    return None
                records = (record,)
                continue
            records = _records_in(_fields(record).get(str(part)))
        elif len(records) > 1 and isinstance(part, str):
            continue
        path.append(part)
        value = _child(value, part)
    if isinstance(value, dict) and records and _meant(records, value) is None:
        return None
    return tuple(path)


def _at(path: _Path, value: JsonValue) -> _Found:
    return functools.reduce(_child, path, cast("_Found", value))


def _child(value: _Found, part: str | int) -> _Found:
    if isinstance(value, dict) and isinstance(part, str):
        return value.get(part, _Absent.NOTHING)
    if isinstance(value, list) and isinstance(part, int) and part < len(value):
        return value[part]
    return _Absent.NOTHING


def _meant(records: _Records, value: Mapping[str, JsonValue]) -> type | None:
    """Return the record that ``value`` means to be, by its ``kind`` where there is one."""
    kinds = _kinds(records)
    if not kinds:
        return records[0]
    given = value.get("kind")
    return kinds.get(given) if isinstance(given, str) else None


def _kinds(records: _Records) -> dict[str, type]:
    return {kind: record for record in records if (kind := _kind(record)) is not None}


def _kind(record: type) -> str | None:
    return next(iter(get_args(_fields(record).get("kind"))), None)


@functools.cache
def _fields(record: type[Any]) -> Mapping[str, object]:
    """Return the annotations of the record's fields by name."""
    if issubclass(record, BaseModel):
        names = set(record.model_fields)
    else:
        names = set(inspect.signature(record).parameters)
    hints = get_type_hints(record, include_extras=True)
    return {name: hint for name, hint in hints.items() if name in names}


def _records_in(annotation: object) -> _Records:
    """Return the records that a value of this annotation consists of, at whatever depth."""
    if isinstance(annotation, type) and (
        dataclasses.is_dataclass(annotation) or issubclass(annotation, BaseModel)
    ):
        return (annotation,)
    return tuple(record for part in get_args(annotation) for record in _records_in(part))
