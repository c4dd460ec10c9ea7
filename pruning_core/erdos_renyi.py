"""The Erdos-Renyi-kernel allocation: from shapes alone, in whole numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction


def erdos_renyi_left(shapes: Sequence[tuple[int, ...]], total: int) -> list[int]:
    """Return how many of the ``total`` weights that are left each tensor has.

    A tensor is left with ``min(size, share * sum(sides))`` weights, ``share`` such that it makes
    ``total``: its density is proportional to ``sum(sides) / product(sides)``, and at most 1. What
    rounding down leaves over goes, weight by weight, to the tensor of the smallest
    ``(left + 1) / sum(sides)``, of equal ones to the first. So (it is D'Hondt's rule) none has
    fewer left where more are left in all, which largest remainders do not promise.

    Args:
        shapes: Of the tensors.
        total: From 0 to the size of all tensors.

    Source: Evci et al., 2020, "Rigging the Lottery: Making All Tickets Winners", section 3.1,
    arXiv:1911.11134.

    >>> erdos_renyi_left([(4, 4), (10, 40)], total=208)
    [16, 192]
    >>> erdos_renyi_left([(3, 3, 8, 16), (3, 3, 16, 16)], total=1000)
    [441, 559]
    """
    sizes = [math.prod(shape) for shape in shapes]
    sides = [max(1, sum(shape)) for shape in shapes]
    share = _share(sizes, sides, total)
    left = [min(size, math.floor(share * side)) for size, side in zip(sizes, sides, strict=True)]
    for _ in range(total - sum(left)):
        _, place = min(
            (Fraction(left[place] + 1, sides[place]), place)
            for place, size in enumerate(sizes)
            if left[place] < size
        )
        left[place] += 1
    return left


def _share(sizes: Sequence[int], sides: Sequence[int], total: int) -> Fraction:
    """Return the ``share`` for which ``sum(min(size, share * side))`` is ``total``."""
    rest, side_of_rest = total, sum(sides)
    fills_first = sorted(zip(sizes, sides, strict=True), key=lambda tensor: Fraction(*tensor))
    for size, side in fills_first:
        share = Fraction(rest, side_of_rest)
        if share * side <= size:
            return share
        rest, side_of_rest = rest - size, side_of_rest - side
    return Fraction(0)
