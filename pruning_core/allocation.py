"""Allocations: how a sparsity is shared among tensors.

An allocation sees all tensors that follow one schedule, together, and says how many units of each
are pruned; of each tensor, those that score lowest. Where shapes alone decide, so does
``planned_units``, without any weights. As the sparsity rises no tensor gets units back.

N-of-M says itself how many: its tensors get their share of the way, whatever the allocation, and
count for nothing among the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from pruning_core.config import (
    Allocation,
    ErdosRenyiKernel,
    Global,
    LayerAdaptive,
    NOfM,
    Uniform,
    Unstructured,
)
from pruning_core.criterion import Magnitudes, Scores
from pruning_core.erdos_renyi import erdos_renyi_left
from pruning_core.granularity import Kernel, Units, units_of
from pruning_core.mask import Mask, count_pruned, prune_lowest
from pruning_core.ranking import Ranking, lowest_of_all


@dataclass(frozen=True)
class Level:
    """How far the pruning is, and how far it will go; both in [0, 1)."""

    sparsity: float
    last_sparsity: float  #: Not below ``sparsity``.


def masks(
    allocation: Allocation,
    kernels: Sequence[Kernel],
    scores: Iterable[Scores | Magnitudes],
    level: Level,
) -> Iterator[Mask]:
    """Yield a mask for each tensor.

    Where shapes decide how many units go, the scores of one tensor are asked for after the mask
    of the one before, so that they need not all be there at once.

    Args:
        allocation: How the sparsity is shared.
        kernels: The tensors of one schedule.
        scores: Importance of their weights, in the same order; all finite.
        level: How far.

    Raises:
        NonFiniteWeightsError: a score is NaN or infinite.
    """
    counts = planned_units(allocation, kernels, level)
    if None in counts:
        scores = list(scores)
        counts = _ranked_units(allocation, kernels, scores, level)
    for tensor, kernel, count in zip(scores, kernels, counts, strict=True):
        assert count is not None
        yield _without_lowest(tensor, kernel, count)


def _without_lowest(scores: Scores | Magnitudes, kernel: Kernel, count: int) -> Mask:
    if isinstance(kernel.granularity, Unstructured):
        return prune_lowest(scores, count)
    units = units_of(scores[...], kernel)
    return units.spread(prune_lowest(units.scores, count))


def planned_units(
    allocation: Allocation, kernels: Sequence[Kernel], level: Level
) -> list[int | None]:
    """Return how many units of each tensor are pruned; ``None`` where only the weights decide.

    ============================  ========================================================
    of a tensor of ``u`` units    are pruned, halves to even
    ============================  ========================================================
    under N-of-M                  ``u * sparsity / last_sparsity``
    uniform                       ``u * sparsity``
    Erdos-Renyi-kernel            ``u`` times the fraction of its weights that are to go
    global, layer-adaptive        as the weights have it
    ============================  ========================================================
    """
    others = [kernel for kernel in kernels if not isinstance(kernel.granularity, NOfM)]
    shared = iter(_shared_units(allocation, others, level.sparsity))
    return [
        count_pruned(kernel.units, level.sparsity / level.last_sparsity)
        if isinstance(kernel.granularity, NOfM)
        else next(shared)
        for kernel in kernels
    ]


@dataclass(frozen=True)
class Forecast:
    """What shapes alone say about the tensors of one schedule."""

    units: tuple[int | None, ...]  #: Pruned of each tensor; ``None``: only the weights decide.
    weights: tuple[int | None, ...]  #: Pruned of each; ``None`` also where edges are ragged.
    total: int  #: Weights pruned of all.
    is_exact: bool  #: False where ``total`` depends on which units go, and is the nearest guess.


def forecast(allocation: Allocation, kernels: Sequence[Kernel], level: Level) -> Forecast:
    """Return how much ``masks`` will prune.

    >>> from pruning_core.catalogue import layout
    >>> from pruning_core.config import Unstructured
    >>> kernels = [
    ...     Kernel(shape, Unstructured(), layout("Dense", "kernel", rank=2))
    ...     for shape in ((4, 4), (10, 40))
    ... ]
    >>> forecast(Uniform(), kernels, Level(0.5, 0.5)).weights
    (8, 200)
    >>> forecast(ErdosRenyiKernel(), kernels, Level(0.5, 0.5)).weights
    (0, 208)
    >>> ranked = forecast(Global(), kernels, Level(0.5, 0.5))
    >>> ranked.weights, ranked.total, ranked.is_exact
    ((None, None), 208, True)
    """
    units = planned_units(allocation, kernels, level)
    counted = list(zip(kernels, units, strict=True))
    ranked = [kernel for kernel, count in counted if count is None]
    known = [None if count is None else _weights_in(kernel, count) for kernel, count in counted]
    ragged = [
        round(Fraction(kernel.size * count, kernel.units))
        for (kernel, count), weights in zip(counted, known, strict=True)
        if count is not None and weights is None
    ]
    total = sum(weights for weights in known if weights is not None) + sum(ragged)
    return Forecast(
        units=tuple(units),
        weights=tuple(known),
        total=total + _ranked_total(allocation, ranked, level),
        is_exact=not ragged and all(kernel.unit_size == 1 for kernel in ranked),
    )


def _weights_in(kernel: Kernel, units: int) -> int | None:
    if kernel.unit_size is not None:
        return units * kernel.unit_size
    return {0: 0, kernel.units: kernel.size}.get(units)


def _shared_units(
    allocation: Allocation, kernels: Sequence[Kernel], sparsity: float
) -> Sequence[int | None]:
    match allocation:
        case Uniform():
            return [count_pruned(kernel.units, sparsity) for kernel in kernels]
        case ErdosRenyiKernel():
            return _erdos_renyi_units(kernels, sparsity)
        case Global() | LayerAdaptive():
            return [None] * len(kernels)


def _erdos_renyi_units(kernels: Sequence[Kernel], sparsity: float) -> list[int]:
    size = sum(kernel.size for kernel in kernels)
    left = erdos_renyi_left(
        [kernel.shape for kernel in kernels], size - count_pruned(size, sparsity)
    )
    return [
        round(kernel.units * Fraction(kernel.size - weights, max(kernel.size, 1)))
        for kernel, weights in zip(kernels, left, strict=True)
    ]


def _ranked_units(
    allocation: Allocation,
    kernels: Sequence[Kernel],
    scores: Sequence[Scores | Magnitudes],
    level: Level,
) -> list[int | None]:
    counts = planned_units(allocation, kernels, level)
    places = [place for place, count in enumerate(counts) if count is None]
    ranked = lowest_of_all(
        [
            _ranking(allocation, units_of(scores[place][...], kernels[place])).first(
                _most(allocation, kernels[place], level)
            )
            for place in places
        ],
        count_pruned(sum(kernels[place].size for place in places), level.sparsity),
    )
    for place, count in zip(places, ranked, strict=True):
        counts[place] = count
    return counts


def _ranking(allocation: Allocation, units: Units) -> Ranking:
    rising = Ranking.of(units)
    return rising.layer_adaptive() if isinstance(allocation, LayerAdaptive) else rising


def _most(allocation: Allocation, kernel: Kernel, level: Level) -> int:
    """Return how many units of a tensor may go."""
    floor = allocation.floor if isinstance(allocation, Global) else 0.0
    left_by_uniform = kernel.units - count_pruned(kernel.units, level.last_sparsity)
    return max(0, kernel.units - max(1, math.ceil(floor * left_by_uniform)))


def _ranked_total(allocation: Allocation, kernels: Sequence[Kernel], level: Level) -> int:
    """Return how many weights go, or about how many where units are of more than one."""
    size = sum(kernel.size for kernel in kernels)
    most = sum(
        round(Fraction(kernel.size * _most(allocation, kernel, level), max(kernel.units, 1)))
        for kernel in kernels
    )
    return min(count_pruned(size, level.sparsity), most)
