"""Granularities: which weights of a tensor stand or fall together, and what each unit is worth.

The unit is a weight, a block, an output filter, or, under N-of-M, a weight that the pattern will
prune. Blocks and filters are those of the tensor as a matrix: a row for each of its inputs, a
column for each of its outputs, both in C order (``catalogue.Layout``; a Conv2D kernel
``(height, width, in, out)`` has ``height * width * in`` rows and ``out`` columns).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruning_core.catalogue import Layout
from pruning_core.checks import require_finite
from pruning_core.config import Block, Channel, Granularity, NOfM, Unstructured
from pruning_core.criterion import Scores
from pruning_core.mask import Mask


def reason_against(granularity: Granularity, layout: Layout) -> str | None:
    """Why a tensor that lies so cannot be pruned in such units; ``None`` when it can.

    >>> reason_against(NOfM(), Layout(inputs=(0, 1), outputs=(2, 3), channels=None))
    'it has no input channels for n_of_m to group: not pruned'
    """
    if isinstance(granularity, Unstructured):
        return None
    if not layout.inputs:
        return f"{granularity.kind} needs a matrix of inputs and outputs: not pruned"
    if isinstance(granularity, NOfM) and layout.channels is None:
        return "it has no input channels for n_of_m to group: not pruned"
    return None


@dataclass(frozen=True)
class Kernel:
    """A weight tensor without its values, and the units that it is pruned in.

    The layout is one that the granularity can be had with, see ``reason_against``.
    """

    shape: tuple[int, ...]
    granularity: Granularity
    layout: Layout

    @property
    def size(self) -> int:
        """How many weights it has."""
        return math.prod(self.shape)

    @property
    def rows(self) -> int:
        """Weights of one output."""
        return math.prod(self.shape[axis] for axis in self.layout.inputs)

    @property
    def columns(self) -> int:
        """How many outputs it has."""
        return math.prod(self.shape[axis] for axis in self.layout.outputs)

    @property
    def units(self) -> int:
        """How many units it has.

        >>> Kernel((7, 2), NOfM(), Layout((0,), (1,), 0)).units  # 2 of 4, then 1 of 3 and a zero
        6
        """
        match self.granularity:
            case Unstructured():
                return self.size
            case Block(block_size=(rows, columns)):
                return -(-self.rows // rows) * -(-self.columns // columns)
            case NOfM() as pattern:
                channels = self.shape[_channels(self.layout)]
                return _prunable_in_line(channels, pattern) * (self.size // max(channels, 1))
            case Channel():
                return self.columns

    @property
    def unit_size(self) -> int | None:
        """Weights in each unit; ``None`` where blocks at the edges have fewer than others."""
        match self.granularity:
            case Unstructured() | NOfM():
                return 1
            case Block(block_size=(rows, columns)):
                is_even = self.rows % rows == self.columns % columns == 0
                return rows * columns if is_even else None
            case Channel():
                return self.rows


def _channels(layout: Layout) -> int:
    assert layout.channels is not None, "n_of_m is for tensors with input channels"
    return layout.channels


def _prunable_in_line(length: int, pattern: NOfM) -> int:
    groups, rest = divmod(length, pattern.group)
    filled_up = pattern.group - rest
    return groups * pattern.zeros + (max(0, pattern.zeros - filled_up) if rest else 0)


@dataclass(frozen=True)
class Units:
    """The units of one tensor, in C order."""

    scores: Scores  #: What each is worth, of shape ``(units,)``.
    sizes: NDArray[np.intp] | int  #: How many weights each has; one number where all are alike.
    spread: Callable[[Mask], Mask]  #: From a mask of the units to that of the tensor.


def units_of(scores: Scores, kernel: Kernel) -> Units:
    """Return the units of a tensor.

    Args:
        scores: Importance of each weight, of ``kernel.shape``; all finite.
        kernel: What its units are.

    Raises:
        NonFiniteWeightsError: a score is NaN or infinite.

    >>> column = Kernel((5, 1), Block(block_size=(4, 1)), Layout((0,), (1,), 0))
    >>> units = units_of(np.array([[1.0], [1.0], [1.0], [9.0], [9.0]]), column)
    >>> units.scores, units.sizes
    (array([3., 9.]), array([4, 1]))
    >>> units.spread(np.array([False, True])).ravel()
    array([False, False, False, False,  True])
    """
    require_finite("scores", scores)
    match kernel.granularity:
        case Unstructured():
            return Units(scores.ravel(), 1, lambda kept: kept.reshape(kernel.shape))
        case Block() as block:
            return _blocks(scores, kernel, block)
        case NOfM() as pattern:
            return _weights_in_pattern(scores, kernel, pattern)
        case Channel():
            return _filters(scores, kernel)


def _blocks(scores: Scores, kernel: Kernel, block: Block) -> Units:
    row_lengths = _lengths(kernel.rows, block.block_size[0])
    column_lengths = _lengths(kernel.columns, block.block_size[1])
    sizes = np.outer(row_lengths, column_lengths)
    matrix = _as_matrix(scores, kernel)
    row_starts, column_starts = _starts(row_lengths), _starts(column_lengths)
    if block.pooling == "max":
        bands = np.maximum.reduceat(matrix, row_starts, axis=0)
        worth = np.maximum.reduceat(bands, column_starts, axis=1)
    else:
        bands = np.add.reduceat(matrix, row_starts, axis=0, dtype=np.float64)
        worth = np.add.reduceat(bands, column_starts, axis=1) / sizes

    def spread(kept: Mask) -> Mask:
        bands = np.repeat(kept.reshape(sizes.shape), row_lengths, axis=0)
        return _from_matrix(np.repeat(bands, column_lengths, axis=1), kernel)

    return Units(worth.ravel(), sizes.ravel(), spread)


def _lengths(total: int, length: int) -> NDArray[np.intp]:
    """Return the lengths of what a line is cut into, the last as long as what there is."""
    starts = np.arange(0, total, length)
    return np.minimum(length, total - starts)


def _starts(lengths: NDArray[np.intp]) -> NDArray[np.intp]:
    return np.cumsum(lengths) - lengths


def _filters(scores: Scores, kernel: Kernel) -> Units:
    matrix = _as_matrix(scores, kernel)
    squares = np.einsum("io,io->o", matrix, matrix, dtype=np.float64)

    def spread(kept: Mask) -> Mask:
        return _from_matrix(np.broadcast_to(kept, matrix.shape), kernel)

    return Units(np.sqrt(squares / max(kernel.rows, 1)), kernel.rows, spread)


def _weights_in_pattern(scores: Scores, kernel: Kernel, pattern: NOfM) -> Units:
    lines = np.moveaxis(scores, _channels(kernel.layout), -1)
    prunable = np.moveaxis(_lowest_of_groups(lines, pattern), -1, _channels(kernel.layout))

    def spread(kept: Mask) -> Mask:
        mask = np.ones(kernel.shape, dtype=np.bool_)
        mask[prunable] = kept
        return mask

    return Units(scores[prunable], 1, spread)


def _lowest_of_groups(lines: Scores, pattern: NOfM) -> Mask:
    """Return where the lowest ``zeros`` of each group along the last axis are.

    Of equal scores the later are taken first, and what fills the last group up before all.
    """
    channels = lines.shape[-1]
    groups = -(-channels // pattern.group)
    filled = np.full((*lines.shape[:-1], groups * pattern.group), -np.inf, dtype=lines.dtype)
    filled[..., :channels] = lines
    backwards = filled.reshape(-1, pattern.group)[:, ::-1]
    lowest = pattern.group - 1 - np.argsort(backwards, axis=-1, kind="stable")
    chosen = np.zeros(backwards.shape, dtype=np.bool_)
    np.put_along_axis(chosen, lowest[:, : pattern.zeros], values=True, axis=-1)
    return chosen.reshape(filled.shape)[..., :channels]


def _as_matrix(values: NDArray[Any], kernel: Kernel) -> NDArray[Any]:
    axes = kernel.layout.inputs + kernel.layout.outputs
    return values.transpose(axes).reshape(kernel.rows, kernel.columns)


def _from_matrix(matrix: Mask, kernel: Kernel) -> Mask:
    axes = kernel.layout.inputs + kernel.layout.outputs
    return matrix.reshape([kernel.shape[axis] for axis in axes]).transpose(np.argsort(axes))
