"""Rankings of units across tensors: which of them go when the weakest of all do."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pruning_core.criterion import Scores
from pruning_core.granularity import Units


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

    @property
    def highest(self) -> float:
        """The score of the last; 0 where there is none."""
        return float(self.scores[-1]) if self.scores.size else 0.0

    def count_up_to(self, score: float) -> int:
        """Return how many units score no more than ``score``."""
        # In the type of the scores: they would all be copied into that of ``score``.
        with np.errstate(over="ignore"):
            bound = self.scores.dtype.type(score)
        if float(bound) > score:
            bound = np.nextafter(bound, -np.inf, dtype=self.scores.dtype)
        return int(np.searchsorted(self.scores, bound, side="right"))

    def weights_of(self, count: int) -> int:
        """Return how many weights the first ``count`` units have."""
        if isinstance(self.sizes, int):
            return count * self.sizes
        return int(self._ends[count - 1]) if count else 0

    def count_within(self, weights: int) -> int:
        """Return how many units, from the first on, have no more than ``weights`` weights."""
        if isinstance(self.sizes, int):
            return weights // self.sizes
        return int(np.searchsorted(self._ends, weights, side="right"))

    @functools.cached_property
    def _ends(self) -> NDArray[np.intp]:
        return np.cumsum(self.sizes)

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
        squares = self.scores.astype(np.float64)
        np.square(np.ldexp(squares, -exponent, out=squares), out=squares)
        left = np.cumsum(squares[::-1])[::-1]
        lamp = np.divide(squares, left, out=squares, where=left > 0)  # where it is 0, so is left
        return type(self)(lamp, self.sizes)


def lowest_of_all(rankings: Sequence[Ranking], weights: int) -> list[int]:
    """Return how many units of each tensor go, so that about ``weights`` weights go in all.

    The lowest go, wherever they are; of equal ones those of the later tensor first. Where all
    units are single weights exactly ``weights`` go, or all that there are. Elsewhere as many units
    as come nearest to it, of two equally near numbers the lower.

    The rankings are looked up where they are, and never joined: a large model does not fit into
    memory many times.

    Args:
        rankings: The units that may go, tensor by tensor; none scores below 0, all are finite.
        weights: How many weights are to go.

    >>> one, other = Ranking(np.array([1.0, 4.0]), 1), Ranking(np.array([2.0, 3.0, 5.0]), 1)
    >>> lowest_of_all([one, other], 3)
    [1, 2]
    """
    threshold = _threshold(rankings, weights)
    below = math.nextafter(threshold, -math.inf)
    counts = [ranking.count_up_to(below) for ranking in rankings]
    left = weights - _weights_of(rankings, counts)
    for place, ranking in reversed(list(enumerate(rankings))):
        first, last = counts[place], ranking.count_up_to(threshold)
        fitting = min(last, ranking.count_within(ranking.weights_of(first) + left))
        left -= ranking.weights_of(fitting) - ranking.weights_of(first)
        counts[place] = fitting
        if fitting < last:
            one_more = ranking.weights_of(fitting + 1) - ranking.weights_of(fitting)
            counts[place] += one_more - left < left
            break
    return counts


def _threshold(rankings: Sequence[Ranking], weights: int) -> float:
    """Return the lowest score up to which ``weights`` weights or more go; if none, the highest."""
    # Floats that are not negative have the order of their bits, read as whole numbers.
    low, high = 0, _bits(max((ranking.highest for ranking in rankings), default=0.0))
    while low < high:
        middle = (low + high) // 2
        counts = [ranking.count_up_to(_float(middle)) for ranking in rankings]
        if _weights_of(rankings, counts) < weights:
            low = middle + 1
        else:
            high = middle
    return _float(low)


def _weights_of(rankings: Sequence[Ranking], counts: Sequence[int]) -> int:
    return sum(ranking.weights_of(count) for ranking, count in zip(rankings, counts, strict=True))


def _bits(number: float) -> int:
    return int(np.float64(number).view(np.int64))


def _float(bits: int) -> float:
    return float(np.int64(bits).view(np.float64))


def _later_first(scores: Scores) -> NDArray[np.intp]:
    """Return the order in which units go: the lowest first, of equal ones the later."""
    return scores.size - 1 - np.argsort(scores[::-1], kind="stable")
