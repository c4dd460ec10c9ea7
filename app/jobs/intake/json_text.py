"""JSON from strangers: bounded, with no duplicate keys and no numbers that JSON does not have."""

from __future__ import annotations

import json
import math
from typing import NoReturn, TypeAlias, cast

from app.jobs.errors import RefusedFileError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = "dict[str, Json]"

#: Configurations of the largest published networks stay below 4 MiB.
MAX_BYTES = 32 * 2**20
#: A model nested in a model costs five.
_MAX_DEPTH = 128


def read_object(text: bytes) -> JsonObject:
    """Return the JSON object in ``text``.

    Raises:
        RefusedFileError: ``bad_config``.
    """
    try:
        value = cast(
            "Json",
            json.loads(
                text.decode("utf-8"),
                object_pairs_hook=_without_duplicates,
                parse_constant=_refuse_constant,
                parse_float=_finite,
            ),
        )
        _require_encodable(value)
    except RecursionError as error:
        raise _refusal(fault="is nested too deep") from error
    except ValueError as error:
        raise _refusal(fault=f"is not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise _refusal(fault="is not a JSON object")
    _require_shallow(value)
    return value


def _refusal(*, fault: str) -> RefusedFileError:
    return RefusedFileError(
        "bad_config",
        f"The model's configuration {fault}.",
        hint="Save the model again from Keras and upload that file.",
    )


def _require_encodable(value: Json) -> None:
    """Refuse half a character, which JSON can spell but UTF-8 cannot."""
    json.dumps(value, ensure_ascii=False).encode("utf-8")


def _without_duplicates(pairs: list[tuple[str, Json]]) -> JsonObject:
    members = dict(pairs)
    if len(members) < len(pairs):
        message = "duplicate key"
        raise ValueError(message)
    return members


def _refuse_constant(name: str) -> NoReturn:
    message = f"{name} is no JSON number"
    raise ValueError(message)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        message = f"{text[:20]} is beyond any float"
        raise ValueError(message)
    return number


def _require_shallow(value: Json) -> None:
    level: list[Json] = [value]
    for _ in range(_MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise _refusal(fault="is nested too deep")


def _children(value: Json) -> list[Json]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
