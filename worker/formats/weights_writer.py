"""Write the ``weights`` format: the weights of a model, without the zeros that pruning made.

Bytes that say the same kind of thing are put side by side, each kind in a stream of its own, and
deflate codes them by how often each occurs. The layout is in ``docs/weights-format.md``, the way
back in ``weights_reader``.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pruning_core.config import Block, Channel, NOfM, Unstructured
from pruning_core.granularity import Kernel, units_of
from worker.formats.weights_reader import (
    DEFLATE,
    DTYPES,
    LONG_GAP,
    MAGIC,
    PREFIX,
    TURNS,
    VERSION,
)

#: The parts of each stream; what is in one part is alike.
Streams: TypeAlias = defaultdict[str, list[NDArray[np.uint8]]]
Entry: TypeAlias = dict[str, Any]
Mask: TypeAlias = NDArray[np.bool_]
Words: TypeAlias = NDArray[np.unsignedinteger[Any]]

#: A shorter part is not worth a code of its own, which takes about 100 bytes.
_OWN_CODE_BYTES = 4096


@dataclass(frozen=True, eq=False)
class Weight:
    """One weight tensor of a model."""

    name: str  #: For example ``encoder/dense/kernel``.
    values: NDArray[Any]
    #: How it lies, and in which units it was pruned, if it was; ``None`` for what is no kernel.
    kernel: Kernel | None = None


def pack(weights: Iterable[Weight], *, precision: Literal["float32", "int8"]) -> bytes:
    """Return the content of a file, see ``pack_in_parts``."""
    return b"".join(pack_in_parts(weights, precision=precision))


def pack_in_parts(
    weights: Iterable[Weight], *, precision: Literal["float32", "int8"]
) -> list[bytes]:
    """Return the content of a file in parts: those of a large model are too many to be joined.

    Args:
        weights: In the order of ``model.weights``; each is asked for when the one before is done.
        precision: ``float32`` keeps all values as they are, to the last bit, whatever their type.
            ``int8`` rounds floating kernels, with a scale for each output; zeros stay zero.

    Raises:
        ValueError: a tensor holds neither numbers nor booleans.
    """
    streams: Streams = defaultdict(list)
    tensors = [_written(weight, streams, to_int8=precision == "int8") for weight in weights]
    entries: list[Entry] = []
    packed: list[bytes] = []
    for name in list(streams):
        parts = streams.pop(name)  # they go as their packed form comes
        packed.append(_deflated(parts))
        size = sum(part.size for part in parts)
        entries.append({"name": name, "bytes": size, "packed": len(packed[-1])})
    text = json.dumps({"tensors": tensors, "streams": entries}, separators=(",", ":"))
    header = _deflated([np.frombuffer(text.encode(), np.uint8)])
    digest = hashlib.sha256(header)
    for part in packed:
        digest.update(part)
    return [PREFIX.pack(MAGIC, VERSION, len(header), digest.digest()), header, *packed]


def _written(weight: Weight, streams: Streams, *, to_int8: bool) -> Entry:
    """Add a tensor to the streams; return its entry in the header."""
    values, kernel, dtype = weight.values, weight.kernel, weight.values.dtype.name
    entry: Entry = {"name": weight.name, "dtype": dtype, "shape": list(values.shape)}
    words = _words(values)
    is_kept = words != 0
    if to_int8 and kernel is not None and can_be_rounded(values, kernel):
        words, scales = rounded(values, kernel)
        entry |= {"dtype": "int8", "scales": list(kernel.layout.outputs)}
        _write_numbers(streams, "scales", "bfloat16", scales)
        if isinstance(kernel.granularity, Unstructured):
            is_kept = words != 0
    if not is_kept.all():
        entry["mask"], is_kept = _write_mask(streams, is_kept, kernel)
    _write_numbers(streams, entry["dtype"], entry["dtype"], words[is_kept])
    return entry


def _words(values: NDArray[Any]) -> Words:
    """Return the bits of ``values`` as whole numbers, so that only 0.0 is 0, and -0.0 is not."""
    if values.dtype.name not in {*DTYPES, "bfloat16"}:
        message = f"weights must be numbers or booleans. Received: {values.dtype}"
        raise ValueError(message)
    flat = np.ascontiguousarray(values).reshape(-1)
    return flat.view(f"u{values.dtype.itemsize}").reshape(values.shape)


def can_be_rounded(values: NDArray[Any], kernel: Kernel) -> bool:
    """Whether a tensor is a kernel of finite floating numbers, which ``int8`` is for."""
    is_matrix = bool(values.size and kernel.layout.inputs)
    return is_matrix and "float" in values.dtype.name and bool(np.isfinite(values).all())


def rounded(values: NDArray[Any], kernel: Kernel) -> tuple[Words, Words]:
    """Return the kernel as int8, and the scale of each output as bfloat16.

    A scale is a 127th of the largest weight, rounded up, so that none becomes more than 127.
    """
    exact = values.astype(np.float32)
    largest = np.abs(exact).max(axis=kernel.layout.inputs, keepdims=True)
    upper_half = ((largest / 127).view(np.uint32) + np.uint32(0xFFFF)) >> 16
    scales = (upper_half << 16).view(np.float32)
    steps = np.rint(exact / np.where(scales > 0, scales, 1)).astype(np.int8)
    return steps.view(np.uint8), upper_half.astype(np.uint16).ravel()


def _write_mask(streams: Streams, is_kept: Mask, kernel: Kernel | None) -> tuple[Entry, Mask]:
    """Add a mask to the streams; return its entry, and the mask that a reader will see.

    What is left of a block or an output is all of it, whatever is zero in it.
    """
    if kernel is None or isinstance(kernel.granularity, Unstructured):
        return _write_gaps(streams, is_kept.ravel()), is_kept
    if isinstance(kernel.granularity, NOfM):
        return _write_groups(streams, is_kept, kernel, kernel.granularity), is_kept
    units = units_of(is_kept.astype(np.float32), kernel)
    kept_units = units.scores > 0
    entry = _write_gaps(streams, kept_units) | {
        "axes": [*kernel.layout.inputs, *kernel.layout.outputs],
        "rows": kernel.rows,
        "block": _block(kernel, kernel.granularity),
    }
    return entry, units.spread(kept_units)


def _block(kernel: Kernel, granularity: Block | Channel) -> tuple[int, int]:
    return granularity.block_size if isinstance(granularity, Block) else (kernel.rows, 1)


def _write_gaps(streams: Streams, kept: Mask) -> Entry:
    """Write how many units lie before each of the rarer kind, since the last of them."""
    is_kept_rarer = 2 * np.count_nonzero(kept) <= kept.size
    places = np.flatnonzero(kept if is_kept_rarer else ~kept)
    times, rest = np.divmod(np.diff(places, prepend=-1) - 1, LONG_GAP)
    gaps = np.full(places.size + times.sum(), LONG_GAP, np.uint8)
    gaps[np.cumsum(times + 1) - 1] = rest
    streams["gaps"].append(gaps)
    return {"to": "kept" if is_kept_rarer else "pruned", "bytes": gaps.size}


def _write_groups(streams: Streams, is_kept: Mask, kernel: Kernel, pattern: NOfM) -> Entry:
    """Write groups along the input channels as bits, as many in a byte as it has room for."""
    channel = kernel.layout.channels
    assert channel is not None, "n_of_m is for tensors with input channels"
    axes = [axis for axis in range(is_kept.ndim) if axis != channel] + [channel]
    lines = is_kept.transpose(axes)
    group = min(pattern.group, lines.shape[-1])
    filled_up = -lines.shape[-1] % group
    bits = np.pad(lines, [(0, 0)] * (lines.ndim - 1) + [(0, filled_up)]).reshape(-1, group)
    in_row = max(1, 8 // group)
    rows = np.pad(bits, [(0, -len(bits) % in_row), (0, 0)]).reshape(-1, in_row * group)
    streams["groups"].append(np.packbits(rows, axis=1).reshape(-1))
    return {"axes": axes, "group": group}


def _write_numbers(streams: Streams, stream: str, dtype: str, words: Words) -> None:
    """Write the first bytes of all numbers, then the second ones, and so on, the highest first."""
    if turn := TURNS.get(dtype):
        words = words << np.uint8(turn) | words >> np.uint8(8 * words.itemsize - turn)
    for place, plane in enumerate(_planes(words)):
        streams[f"{stream}/{place}"].append(plane)


def _planes(words: Words) -> list[NDArray[np.uint8]]:
    """Return the bytes of each place, the highest first."""
    little_endian = words.astype(words.dtype.newbyteorder("<"))
    places = little_endian.view(np.uint8).reshape(words.size, words.itemsize)
    return [np.ascontiguousarray(plane) for plane in places.T[::-1]]


def _deflated(parts: Sequence[NDArray[np.uint8]]) -> bytes:
    """Return the parts in one piece, coded by frequencies alone or with repetitions."""
    return min(
        (_coded(parts, strategy) for strategy in (zlib.Z_HUFFMAN_ONLY, zlib.Z_DEFAULT_STRATEGY)),
        key=len,
    )


def _coded(parts: Sequence[NDArray[np.uint8]], strategy: int) -> bytes:
    coder = zlib.compressobj(9, zlib.DEFLATED, DEFLATE, memLevel=9, strategy=strategy)
    pieces: list[bytes] = []
    size = 0  # since the code began
    for part in parts:
        if max(size, part.size) >= _OWN_CODE_BYTES:
            pieces.append(coder.flush(zlib.Z_BLOCK))
            size = 0
        pieces.append(coder.compress(part.data))
        size += part.size
    return b"".join((*pieces, coder.flush()))
