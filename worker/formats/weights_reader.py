"""Read the ``weights`` format: the weights of a model, without the zeros that pruning made.

>>> model.set_weights([values for _, values in read_weights("model.espw")])  # doctest: +SKIP

This file needs NumPy and nothing else, and may be copied to wherever weights are read. What is in
a file of the format is told in ``docs/weights-format.md``.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"ESPW"
VERSION = 1
#: Magic, version, length of the header, SHA-256 of all that follows.
PREFIX = struct.Struct("<4sII32s")
#: Number types, but for bfloat16, which NumPy lacks.
DTYPES = frozenset(
    {"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
    | {"float16", "float32", "float64"}
)
#: By how many bits a number is turned to the left, so that its first byte says nearly all of how
#: large it is: the lowest four bits of the exponent, then the highest four of the mantissa.
TURNS = {"bfloat16": 5, "float16": 2, "float32": 5, "float64": 8}
#: A byte of gaps that says: so many units, and the gap goes on.
LONG_GAP = 255
DEFLATE = -15  #: zlib's number for deflate without a header of its own.

_MAX_HEADER_BYTES = 64 * 2**20
_MAX_RANK = 32
#: What Python and NumPy raise over a header that contradicts itself.
_BROKEN = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    zlib.error,
)


class CorruptWeightsError(ValueError):
    """The bytes are not a whole file of the format, or of a version that this reader knows."""


def read_weights(
    path: str | os.PathLike[str], *, max_bytes: int = 2**32
) -> list[tuple[str, NDArray[Any]]]:
    """Return the weights in a file, see ``unpack``."""
    return unpack(Path(path).read_bytes(), max_bytes=max_bytes)


def unpack(packed: bytes, *, max_bytes: int = 2**32) -> list[tuple[str, NDArray[Any]]]:
    """Return the name and the values of each weight tensor, in the order of ``model.weights``.

    Values are what was written, to the last bit, and zero where they were pruned. What was written
    as int8 comes back as float32, multiplied by the scale of its output channel; bfloat16, which
    NumPy lacks, as float32 of the same values.

    Args:
        packed: The content of a file.
        max_bytes: What all tensors together may take. Nothing larger is unpacked.

    Raises:
        CorruptWeightsError: ``packed`` was cut off or changed, breaks the format, or would unpack
            to more than ``max_bytes``.
    """
    _require(packed[:4] == MAGIC, f"begin with {MAGIC!r}", packed[:4])
    _require(len(packed) >= PREFIX.size, f"have at least {PREFIX.size} bytes", len(packed))
    _, version, header_bytes, digest = PREFIX.unpack_from(packed)
    _require(version == VERSION, f"be of version {VERSION}", version)
    content = memoryview(packed)[PREFIX.size :]
    is_whole = hashlib.sha256(content).digest() == digest
    _require(is_whole, "have the content whose SHA-256 it states", "one cut off or changed")
    try:
        return _tensors(content[:header_bytes], content[header_bytes:], max_bytes)
    except CorruptWeightsError:
        raise
    except _BROKEN as error:
        message = f"the file must follow the format. Received: what leads to {error!r}"
        raise CorruptWeightsError(message) from error


def _tensors(
    packed_header: memoryview, body: memoryview, max_bytes: int
) -> list[tuple[str, NDArray[Any]]]:
    header = json.loads(_inflated(packed_header, _MAX_HEADER_BYTES))
    entries = header["tensors"]
    size = sum(map(_size, entries))
    _require(size <= max_bytes, f"unpack to at most {max_bytes} bytes", size)
    streams = _Streams(header["streams"], body, max_bytes=3 * size)
    tensors = [(str(entry["name"]), _values(entry, streams)) for entry in entries]
    streams.require_end()
    return tensors


def _size(entry: Any) -> int:
    """Return how many bytes a tensor has once it is unpacked."""
    shape, dtype = entry["shape"], entry["dtype"]
    is_shape = len(shape) <= _MAX_RANK and all(map(_is_count, shape))
    _require(is_shape, f"have shapes of at most {_MAX_RANK} whole numbers", shape)
    _require(dtype in {*DTYPES, "bfloat16"}, "have number types that are known", dtype)
    as_float32 = dtype == "bfloat16" or "scales" in entry
    return math.prod(shape) * (4 if as_float32 else np.dtype(dtype).itemsize)


class _Streams:
    """The streams of a file by their names; a tensor takes its part from the front of each.

    ``max_bytes`` bounds them all together: a weight of 1 byte has at most two more in its mask.
    """

    def __init__(self, entries: Any, body: memoryview, *, max_bytes: int) -> None:
        sizes = [entry["bytes"] for entry in entries]
        lengths = [entry["packed"] for entry in entries]
        _require(all(map(_is_count, sizes + lengths)), "have sizes of streams", sizes + lengths)
        _require(sum(sizes) <= max_bytes, f"have {max_bytes} bytes in streams at most", sum(sizes))
        _require(sum(lengths) == len(body), "be as long as its streams", len(body))
        self._left: dict[str, NDArray[np.uint8]] = {}
        for entry in entries:
            packed, body = body[: entry["packed"]], body[entry["packed"] :]
            content = _inflated(packed, entry["bytes"])
            _require(len(content) == entry["bytes"], "state the sizes of streams", entry["bytes"])
            self._left[entry["name"]] = np.frombuffer(content, np.uint8)

    def take(self, name: str, count: int) -> NDArray[np.uint8]:
        """Return the next ``count`` bytes of a stream; a stream that is not there is empty."""
        left = self._left.get(name, np.empty(0, np.uint8))
        is_there = _is_count(count) and count <= left.size
        _require(is_there, f"have {count} bytes more in the stream {name}", left.size)
        self._left[name] = left[count:]
        return left[:count]

    def require_end(self) -> None:
        """Refuse what no tensor took."""
        rest = {name: left.size for name, left in self._left.items() if left.size}
        _require(not rest, "have nothing in its streams beyond the tensors", rest)


def _inflated(packed: memoryview, max_bytes: int) -> bytes:
    unpacker = zlib.decompressobj(DEFLATE)
    content = unpacker.decompress(packed, max_bytes + 1)  # 0 would mean without a bound
    is_whole = unpacker.eof and len(content) <= max_bytes and not unpacker.unused_data
    _require(is_whole, f"have whole streams of at most {max_bytes} bytes", "another one")
    return content


def _values(entry: Any, streams: _Streams) -> NDArray[Any]:
    shape, dtype = entry["shape"], entry["dtype"]
    mask = _mask(entry["mask"], shape, streams) if "mask" in entry else np.ones(shape, np.bool_)
    kept = _numbers(dtype, dtype, int(np.count_nonzero(mask)), streams)
    values = np.zeros(shape, kept.dtype)
    values[mask] = kept
    return _scaled(values, entry["scales"], streams) if "scales" in entry else values


def _scaled(values: NDArray[Any], axes: Sequence[int], streams: _Streams) -> NDArray[np.float32]:
    shape = [length if axis in axes else 1 for axis, length in enumerate(values.shape)]
    scales = _numbers("scales", "bfloat16", math.prod(shape), streams)
    return values.astype(np.float32) * scales.reshape(shape)


def _numbers(stream: str, dtype: str, count: int, streams: _Streams) -> NDArray[Any]:
    """Return the next ``count`` numbers, whose bytes are in a stream for each place."""
    itemsize = 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize
    planes = [streams.take(f"{stream}/{place}", count) for place in range(itemsize)]
    words = np.stack(planes[::-1], axis=-1).view(f"<u{itemsize}").ravel()
    if turn := TURNS.get(dtype):
        words = words >> turn | words << (8 * itemsize - turn)
    if dtype == "bfloat16":
        return (words.astype(np.uint32) << 16).view(np.float32)
    return words.view(np.dtype(dtype).newbyteorder("<"))


def _mask(entry: Any, shape: Sequence[int], streams: _Streams) -> NDArray[np.bool_]:
    """Return where weights were kept; the entry says in which order of the axes it is told."""
    axes: list[int] = entry.get("axes", list(range(len(shape))))
    turned = [shape[axis] for axis in axes]
    size = math.prod(shape)
    kept = (
        _from_groups(entry["group"], turned, streams)
        if "group" in entry
        else _from_gaps(entry, size, streams)
    )
    return kept.reshape(turned).transpose(np.argsort(axes))


def _from_gaps(entry: Any, size: int, streams: _Streams) -> NDArray[np.bool_]:
    """Return a matrix of blocks that stand or fall together; the gaps lead from one to the next."""
    rows, (high, wide) = entry.get("rows", size), entry.get("block", (1, 1))
    _require(_is_count(rows) and rows <= size, "have no more rows than weights", rows)
    columns = size // rows
    blocks = -(-rows // high), -(-columns // wide)
    gaps = streams.take("gaps", entry["bytes"]).astype(np.int64)
    ends = gaps < LONG_GAP
    places = np.cumsum(gaps + ends)[ends] - 1
    found = np.zeros(blocks, np.bool_)
    found.reshape(-1)[places] = True
    _require(entry["to"] in {"kept", "pruned"}, "say where gaps lead to", entry["to"])
    kept = found if entry["to"] == "kept" else ~found
    return kept[np.arange(rows) // high][:, np.arange(columns) // wide]


def _from_groups(group: int, turned: Sequence[int], streams: _Streams) -> NDArray[np.bool_]:
    """Return lines of groups, written as bits; a byte has as many groups as it has room for."""
    channels = turned[-1]
    lines = math.prod(turned[:-1])
    groups = lines * -(-channels // group)
    in_row = max(1, 8 // group)
    rows = -(-groups // in_row)
    packed = streams.take("groups", rows * -(-in_row * group // 8)).reshape(rows, -1)
    bits = np.unpackbits(packed, axis=1, count=in_row * group).reshape(-1, group)
    return bits[:groups].reshape(lines, -1)[:, :channels].astype(np.bool_)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


def _require(holds: bool, rule: str, received: Any) -> None:  # noqa: FBT001
    if not holds:
        message = f"the file must {rule}. Received: {received}"
        raise CorruptWeightsError(message)
