"""Allocations: how a sparsity is shared among tensors.

An allocation sees the scores of all tensors that follow one schedule, together, and answers with
a mask for each.
"""

from __future__ import annotations

from collections.abc import Sequence

from pruning_core.criterion import Scores
from pruning_core.mask import Mask, keep_highest


def uniform(scores: Sequence[Scores], sparsity: float) -> list[Mask]:
    """Return a mask for each tensor; every tensor gets ``sparsity``.

    Raises:
        NonFiniteWeightsError: a score is NaN or infinite.
    """
    return [keep_highest(tensor, sparsity) for tensor in scores]
