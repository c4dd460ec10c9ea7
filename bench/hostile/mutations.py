"""Valid files and specs, changed at random; the seed decides how."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, cast

from bench.hostile.case import SPEC, Case, Expected
from bench.hostile.edits import CONFIG, WEIGHTS, config_of, members, packed, with_config_text
from bench.hostile.originals import Originals

_MOST_FLIPS = 8
_MOST_BYTES_MOVED = 512
#: What stands instead of a value in a configuration or a spec.
_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    2**31,
    2**63,
    -(2**63),
    0.5,
    1e308,
    "",
    "relu",
    "__lambda__",
    "../../etc/passwd",
    [],
    [[]],
    {},
    {"class_name": "Lambda", "config": {}},
    {"class_name": "Dense", "module": "keras.layers", "config": {}},
)

_Make = Callable[[Originals, Random], dict[str, Any]]


def mutations(originals: Originals, *, count: int, seed: int) -> Iterator[Case]:
    """Yield ``count`` cases, the same ones for the same seed."""
    random = Random(seed)  # noqa: S311  (nothing here is a secret)
    kinds = list(_KINDS)
    for number in range(count):
        kind = random.choice(kinds)
        changed = _KINDS[kind](originals, random)
        yield Case(name=f"mutation {number}: {kind}", expected=Expected.JUDGEMENT, **changed)


def _flipped(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(random.randint(1, _MOST_FLIPS)):
        changed[random.randrange(len(changed))] ^= random.randint(1, 255)
    return bytes(changed)


def _cut(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(1, len(content))]


def _spliced(content: bytes, random: Random) -> bytes:
    """Return the bytes with a few of them removed, repeated, or moved."""
    start = random.randrange(len(content))
    piece = content[start : start + random.randint(1, _MOST_BYTES_MOVED)]
    rest = content[:start] + content[start + len(piece) :]
    place = random.randrange(len(rest) + 1)
    return random.choice([rest, content[:start] + piece + content[start:], rest[:place] + piece])


def _inside(archive: bytes, name: str, random: Random) -> bytes:
    """Return the archive with a member changed, and its checksum with it."""
    contents = members(archive)
    return packed({**contents, name: _flipped(contents[name], random)})


def _with_another_value(value: Any, random: Random) -> Any:
    """Return a copy of a JSON value in which one thing, anywhere, is another or is gone."""
    if random.random() < _HERE or not value:
        return random.choice(_VALUES)
    match value:
        case list():
            items = cast("list[Any]", value)
            place = random.randrange(len(items))
            return [*items[:place], _with_another_value(items[place], random), *items[place + 1 :]]
        case dict():
            known = cast("dict[str, Any]", value)
            key = random.choice(list(known))
            if random.random() < _HERE:
                return {name: each for name, each in known.items() if name != key}
            return {**known, key: _with_another_value(known[key], random)}
        case _:
            return random.choice(_VALUES)


#: How likely it is, at each step down a tree, that the change comes there.
_HERE = 0.08


def _another_config(originals: Originals, random: Random) -> dict[str, Any]:
    changed = _with_another_value(config_of(originals.keras), random)
    return {"model": with_config_text(originals.keras, json.dumps(changed))}


def _another_array(originals: Originals, random: Random) -> dict[str, Any]:
    name = random.choice(list(members(originals.npz)))
    return {"data": _inside(originals.npz, name, random)}


def _another_spec(_: Originals, random: Random) -> dict[str, Any]:
    return {"spec": json.dumps(_with_another_value(json.loads(SPEC), random))}


_KINDS: dict[str, _Make] = {
    "keras, bytes": lambda o, r: {"model": _flipped(o.keras, r)},
    "keras, cut": lambda o, r: {"model": _cut(o.keras, r)},
    "keras, spliced": lambda o, r: {"model": _spliced(o.keras, r)},
    "keras, text of the configuration": lambda o, r: {"model": _inside(o.keras, CONFIG, r)},
    "keras, values of the configuration": _another_config,
    "keras, bytes of the weights": lambda o, r: {"model": _inside(o.keras, WEIGHTS, r)},
    "h5, bytes": lambda o, r: {"model": _flipped(o.h5, r)},
    "h5, cut": lambda o, r: {"model": _cut(o.h5, r)},
    "h5, spliced": lambda o, r: {"model": _spliced(o.h5, r)},
    "npz, bytes": lambda o, r: {"data": _flipped(o.npz, r)},
    "npz, spliced": lambda o, r: {"data": _spliced(o.npz, r)},
    "npz, bytes of an array": _another_array,
    "spec, values": _another_spec,
}
