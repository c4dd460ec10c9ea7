"""How few bytes the weights of a pruned model can take: the bound of ``docs/weights-format.md``.

Of a LiteRT file it is that of its buffers, quantized as they are, and of their scales.
"""

# The schema's own code has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from pruning_core.config import Granularity, NOfM
from pruning_core.granularity import Kernel
from worker.formats.weights_writer import Weight, can_be_rounded, rounded


def bound_bytes(weights: Iterable[Weight], precision: Literal["float32", "int8"]) -> float:
    """Return the entropy of the masks and of what is left, tensor by tensor; none is in blocks."""
    return sum(_bits(weight, to_int8=precision == "int8") for weight in weights) / 8


def _bits(weight: Weight, *, to_int8: bool) -> float:
    values, kernel = weight.values, weight.kernel
    numbers = values
    if to_int8 and kernel is not None and can_be_rounded(values, kernel):
        numbers, _ = rounded(values, kernel)
    bits = values.size * _entropy_of_share(np.count_nonzero(numbers) / max(values.size, 1))
    bits += _bits_of_numbers(numbers[numbers != 0])
    if kernel is None or not isinstance(kernel.granularity, NOfM):
        return bits
    # The pattern says more where rounding made more zeros, which are then numbers like others.
    of_pattern = _bits_of_pattern(kernel, kernel.granularity)
    return min(bits, of_pattern + _bits_of_numbers(numbers[values != 0]))


def litert_bound_bytes(path: Path, granularity: Granularity) -> float:
    """Return the entropy of what is in the buffers of a ``.tflite`` file, and of their scales.

    Args:
        path: Of the file.
        granularity: By which the model was pruned; a pattern is one along the last axis here.
    """
    pattern = granularity if isinstance(granularity, NOfM) else None
    return sum(_bits_of_array(array, pattern) for array in _arrays_in(path)) / 8


def _arrays_in(path: Path) -> Iterator[NDArray[Any]]:
    """Yield each buffer of the first graph once, in the shape of its tensor, and all scales."""
    model: Any = schema.Model.GetRootAs(np.fromfile(path, np.uint8), 0)
    seen: set[int] = set()
    graph = model.Subgraphs(0)
    for tensor in (graph.Tensors(at) for at in range(graph.TensorsLength())):
        buffer, dtype = model.Buffers(tensor.Buffer()), _LITERT_DTYPES[tensor.Type()]
        if buffer.DataLength() and tensor.Buffer() not in seen:
            seen.add(tensor.Buffer())
            yield buffer.DataAsNumpy().view(dtype).reshape(tensor.ShapeAsNumpy())
        if (quantization := tensor.Quantization()) and quantization.ScaleLength() > 1:
            yield quantization.ScaleAsNumpy()


_LITERT_DTYPES = {
    schema.TensorType.BOOL: np.bool_,
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.INT32: np.int32,
}


def _bits_of_array(array: NDArray[Any], pattern: NOfM | None) -> float:
    kept = array[array != 0]
    bits = array.size * _entropy_of_share(kept.size / array.size) + _bits_of_numbers(kept)
    if pattern is None or array.dtype != np.int8 or array.shape[-1] % pattern.group:
        return bits
    groups = array.reshape(-1, pattern.group)
    if (np.count_nonzero(groups, axis=1) > pattern.group - pattern.zeros).any():
        return bits
    # Which of a group are told: at least the non-zeros, and of what was rounded to zero any.
    told = array.size * (1 - pattern.sparsity)
    choices = len(groups) * math.log2(math.comb(pattern.group, pattern.zeros))
    rounded_to_zero = _entropy_of_share(kept.size / told) * told
    return min(bits, choices + rounded_to_zero + _bits_of_numbers(kept))


def _bits_of_pattern(kernel: Kernel, pattern: NOfM) -> float:
    assert kernel.layout.channels is not None, "n_of_m is for tensors with input channels"
    channels = kernel.shape[kernel.layout.channels]
    groups, rest = divmod(channels, pattern.group)
    ragged = max(0, pattern.zeros - (pattern.group - rest)) if rest else 0
    choices = groups * math.log2(math.comb(pattern.group, pattern.zeros))
    choices += math.log2(math.comb(rest, ragged))
    return kernel.size / channels * choices


def _bits_of_numbers(numbers: NDArray[Any]) -> float:
    if numbers.dtype != np.float32:
        return numbers.size * _entropy(numbers)
    words = numbers.view(np.uint32)
    # Sign, exponent and seven bits of mantissa together; then a byte each.
    parts = (words >> 16, words >> 8 & 0xFF, words & 0xFF)
    return numbers.size * sum(map(_entropy, parts))


def _entropy(symbols: NDArray[Any]) -> float:
    """Return the bits a symbol, were the table of frequencies to be had for nothing."""
    _, counts = np.unique(symbols, return_counts=True)
    shares = counts / max(symbols.size, 1)
    return -float(np.sum(shares * np.log2(shares)))


def _entropy_of_share(share: float) -> float:
    return -sum(part * math.log2(part) for part in (share, 1 - share) if part)
