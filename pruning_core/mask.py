"""Masks: which weights stay, given what each is worth."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruning_core.checks import require_finite, require_fraction
from pruning_core.criterion import Scores

Mask = NDArray[np.bool_]


def count_pruned(size: int, sparsity: float) -> int:
    """How many of ``size`` weights a ``sparsity`` prunes: ``size * sparsity``, halves to even.

    >>> [count_pruned(size, 0.5) for size in (1, 3, 4, 5)]
    [0, 2, 2, 2]
    """
    return round(size * sparsity)


def keep_highest(scores: Scores, sparsity: float) -> Mask:
    """Return the mask that prunes the lowest-scoring fraction of ``scores``.

    Exactly ``count_pruned(scores.size, sparsity)`` entries are pruned, ties included: of equal
    scores, the one later in C order is pruned first, so the result is the same on every run.

    Args:
        scores: Importance of each weight; any shape, all finite.
        sparsity: Fraction of entries to prune, in [0, 1).

    Returns:
        Mask of ``scores.shape``; True keeps a weight, False prunes it.

    Raises:
        PruningConfigError: ``sparsity`` is not in [0, 1).
        NonFiniteWeightsError: a score is NaN or infinite.

    >>> keep_highest(np.ones(4), sparsity=0.5)
    array([ True,  True, False, False])
    """
    require_fraction("sparsity", sparsity)
    return prune_lowest(scores, count_pruned(scores.size, sparsity))


def prune_lowest(scores: Scores, pruned: int) -> Mask:
    """Return the mask that prunes exactly so many of ``scores``; see ``keep_highest``.

    Args:
        scores: Importance of each weight; any shape, all finite.
        pruned: How many to prune, from 0 to ``scores.size``.

    Raises:
        NonFiniteWeightsError: a score is NaN or infinite.
    """
    require_finite("scores", scores)
    if pruned == 0:
        return np.ones(scores.shape, dtype=np.bool_)
    flat = scores.ravel()
    threshold = _nth_lowest(flat, pruned)
    mask = flat >= threshold
    tied = np.flatnonzero(flat == threshold)
    already_pruned = flat.size - np.count_nonzero(mask)
    mask[tied[tied.size - (pruned - already_pruned) :]] = False
    return mask.reshape(scores.shape)


def _nth_lowest(scores: Scores, n: int) -> np.floating[Any]:
    # Weights pruned before all score 0, and np.partition is ten times slower among ties: they
    # are set aside first.
    lowest = scores.min()
    above = scores[scores > lowest]
    at_lowest = scores.size - above.size
    if n <= at_lowest:
        return lowest
    position = n - at_lowest - 1
    return np.partition(above, position)[position]
