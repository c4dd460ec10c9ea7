"""JSON from strangers: bounded, and with nothing in it that two readers could take differently."""

from __future__ import annotations

import json
import math
from itertools import chain
from typing import NoReturn

from pydantic import JsonValue

_MAX_DIGITS = 300


def parse_json(raw: bytes | str, *, max_bytes: int, max_depth: int) -> JsonValue:
    """Return the value that ``raw`` writes.

    Args:
        raw: JSON; bytes are UTF-8.
        max_bytes: Longer texts are refused unread.
        max_depth: How many objects and lists may stand inside one another.

    Raises:
        ValueError: it is no JSON, or too long or too deep; an object names a key twice; a number
            is not finite. The message is the rule and the evidence.

    >>> parse_json('{"a": [1, 2]}', max_bytes=100, max_depth=2)
    {'a': [1, 2]}
    >>> parse_json('{"a": 1, "a": 2}', max_bytes=100, max_depth=2)
    Traceback (most recent call last):
    ValueError: an object must name each key once. Received: "a" twice
    """
    encoded = raw.encode(errors="surrogatepass") if isinstance(raw, str) else raw
    if len(encoded) > max_bytes:
        message = f"JSON must be at most {max_bytes} bytes here. Received: {len(encoded)} bytes"
        raise ValueError(message)
    too_deep = f"objects and lists must be nested at most {max_depth} deep"
    try:
        value: JsonValue = json.loads(
            encoded.decode(),
            object_pairs_hook=_object,
            parse_constant=_refuse_number,
            parse_float=_finite,
            parse_int=_integer,
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        message = f"the text must be JSON. Received: {error.msg} at {place}"
        raise ValueError(message) from error
    except UnicodeDecodeError as error:
        message = f"the text must be UTF-8. Received: {error.reason} at byte {error.start}"
        raise ValueError(message) from error
    except RecursionError as error:
        raise ValueError(too_deep) from error
    if _is_deeper(value, max_depth):
        raise ValueError(too_deep)
    if not _is_text(value):
        message = "a string must be Unicode. Received: half of a surrogate pair"
        raise ValueError(message)
    return value


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found: dict[str, JsonValue] = {}
    for key, value in pairs:
        if key in found:
            message = f"an object must name each key once. Received: {json.dumps(key)} twice"
            raise ValueError(message)
        found[key] = value
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _refuse_number(text)
    return number


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        _refuse_number(text)
    return int(text)


def _refuse_number(text: str) -> NoReturn:
    message = f"a number must be finite. Received: {text:.40}"
    raise ValueError(message)


def _is_text(value: JsonValue) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_deeper(value: JsonValue, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = list(chain.from_iterable(_inside(item) for item in level))
    return any(isinstance(item, dict | list) for item in level)


def _inside(value: JsonValue) -> list[JsonValue]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
