"""How few bytes the weights of a pruned model can take: the bound of ``docs/weights-format.md``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pruning_core.config import NOfM
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
