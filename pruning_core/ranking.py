"""Rankings of units across tensors: which of them go when the weakest of all do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pruning_core.criterion import Scores
from pruning_core.granularity import Units
from pruning_core.mask import prune_lowest


@dataclass(frozen=True)
class Ranking:
    """Units of one tensor in the order in which they go: rising, of equal ones the later first."""

    scores: Scores
    sizes: NDArray[np.intp] | int  #: Weights in each; one number where all are alike.

    @classmethod
    def of(cls, units: Units) -> Self:
        """Return the units of a tensor in their order."""
        if isinstance(units.sizes, int):
            return cls(np.sort(units.scores), units.sizes)
        order = _later_first(units.scores)
        return cls(units.scores[order], units.sizes[order])

    def first(self, count: int) -> Self:
        """Return the first ``count`` units."""
        sizes = self.sizes if isinstance(self.sizes, int) else self.sizes[:count]
        return type(self)(self.scores[:count], sizes)

    def layer_adaptive(self) -> Self:
        """Return the same units by their LAMP scores, which leave them in the same order.

        A unit's is the square of its score as a share of the squares of itself and all that go
        after it, in [0, 1]; 0 for one that is worth nothing.

        Source: Lee et al., 2021, "Layer-adaptive Sparsity for the Magnitude-based Pruning", eq. 3.
        arXiv:2010.07611

        >>> Ranking(np.array([0.0, 1.0, 2.0, 2.0]), 1).layer_adaptive().scores.round(3)
        array([0.   , 0.111, 0.5  , 1.   ])
        """
        # By a power of two, which rounds nothing, so that no square overflows.
        _, exponent = np.frexp(self.scores.max(initial=0.0))
        squares = np.square(np.ldexp(self.scores.astype(np.float64), -exponent))
        left = np.cumsum(squares[::-1])[::-1]
        lamp = np.divide(squares, left, out=np.zeros_like(squares), where=left > 0)
        return type(self)(lamp, self.sizes)


def lowest_of_all(rankings: Sequence[Ranking], weights: int) -> list[int]:
    """Return how many units of each tensor go, so that about ``weights`` weights go in all.

    The lowest go, wherever they are; of equal ones those of the later tensor first. Where all
    units are single weights exactly ``weights`` go, or all that there are. Elsewhere as many units
    as come nearest to it, of two equally near numbers the lower.

    Args:
        rankings: The units that may go, tensor by tensor; all finite.
        weights: How many weights are to go.

    >>> one, other = Ranking(np.array([1.0, 4.0]), 1), Ranking(np.array([2.0, 3.0, 5.0]), 1)
    >>> lowest_of_all([one, other], 3)
    [1, 2]
    """
    scores = np.concatenate([ranking.scores for ranking in rankings])
    pruned = ~prune_lowest(scores, _nearest_count(scores, rankings, weights))
    ends = np.cumsum([ranking.scores.size for ranking in rankings])
    return [int(np.count_nonzero(part)) for part in np.split(pruned, ends[:-1])]


def _nearest_count(scores: Scores, rankings: Sequence[Ranking], weights: int) -> int:
    if all(isinstance(ranking.sizes, int) and ranking.sizes == 1 for ranking in rankings):
        return min(weights, scores.size)
    sizes = np.concatenate(
        [np.broadcast_to(ranking.sizes, ranking.scores.shape) for ranking in rankings]
    )
    gone: NDArray[Any] = np.cumsum(sizes[_later_first(scores)])
    count = int(np.searchsorted(gone, weights, side="right"))
    gone_with_one_more = gone[count : count + 1]
    gone_so_far = gone[count - 1] if count else 0
    return count + int((gone_with_one_more - weights < weights - gone_so_far).sum())


def _later_first(scores: Scores) -> NDArray[np.intp]:
    """Return the order in which units go: the lowest first, of equal ones the later."""
    return scores.size - 1 - np.argsort(scores[::-1], kind="stable")
