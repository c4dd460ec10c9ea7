"""Masks: which weights stay, given what each is worth."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruning_core.checks import require_finite, require_fraction
from pruning_core.criterion import Magnitudes, Scores

Mask = NDArray[np.bool_]

#: Bytes; at a multiple of these a mask begins, so that a backend can take it over as it is.
ALIGNMENT = 64
#: Scores that are looked at together: few enough for a core's cache.
_PIECE = 1 << 18
#: Scores that a thread takes at a time.
_STRETCH = 16 * _PIECE
#: Scores that are drawn to guess where the threshold lies.
_SAMPLE = 1 << 17


def count_pruned(size: int, sparsity: float) -> int:
    """How many of ``size`` weights a ``sparsity`` prunes: ``size * sparsity``, halves to even.

    >>> [count_pruned(size, 0.5) for size in (1, 3, 4, 5)]
    [0, 2, 2, 2]
    """
    return round(size * sparsity)


def keep_highest(scores: Scores | Magnitudes, sparsity: float) -> Mask:
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


def prune_lowest(scores: Scores | Magnitudes, pruned: int) -> Mask:
    """Return the mask that prunes exactly so many of ``scores``; see ``keep_highest``.

    A large tensor is read once, in pieces that fit the cache: a sample tells between which two
    scores the threshold must lie, and only what lies between them is ranked.

    Args:
        scores: Importance of each weight; any shape, all finite.
        pruned: How many to prune, from 0 to ``scores.size``.

    Raises:
        NonFiniteWeightsError: a score is NaN or infinite.
    """
    if not scores.size:
        return np.ones(scores.shape, dtype=np.bool_)
    flat = scores.ravel()
    kept = _kept_by_bracket(flat, pruned, _guessed_bracket(flat, pruned))
    if kept is None:
        kept = _kept_by_bracket(flat, pruned, _EVERYTHING)
    assert kept is not None, "every threshold lies between the infinities"
    return kept.reshape(scores.shape)


@dataclass(frozen=True)
class _Bracket:
    """The threshold lies between these two scores, or at one of them, if the guess is right."""

    low: float
    high: float


_EVERYTHING = _Bracket(-math.inf, math.inf)


def _guessed_bracket(flat: Scores | Magnitudes, pruned: int) -> _Bracket:
    if pruned == 0:
        return _Bracket(-math.inf, -math.inf)
    if pruned == flat.size:
        return _Bracket(math.inf, math.inf)
    if flat.size <= _SAMPLE:
        return _EVERYTHING
    sample = np.sort(flat[np.random.default_rng(0).integers(flat.size, size=_SAMPLE)])
    fraction = pruned / flat.size
    # Five standard deviations of the number of drawn scores that lie below the threshold.
    margin = 1 + 5 * math.sqrt(_SAMPLE * fraction * (1 - fraction))
    below = math.floor(_SAMPLE * fraction - margin)
    above = math.ceil(_SAMPLE * fraction + margin)
    return _Bracket(
        low=float(sample[below]) if below >= 0 else -math.inf,
        high=float(sample[above]) if above < _SAMPLE else math.inf,
    )


def _kept_by_bracket(flat: Scores | Magnitudes, pruned: int, bracket: _Bracket) -> Mask | None:
    """Return the mask; ``None`` where the threshold lies outside the bracket."""
    kept = _aligned(flat.size)
    inside = _split(flat, bracket, kept)
    missing = pruned - inside.below
    if missing <= 0:
        is_found = _keep_first_of(bracket.low, flat, -missing, kept)
    elif missing <= inside.scores.size:
        kept[inside.lowest(missing)] = False
        is_found = True
    else:
        kept[inside.places] = False
        is_found = bracket.low < bracket.high and _prune_last_of(
            bracket.high, flat, missing - inside.scores.size, kept
        )
    return kept if is_found else None


def _aligned(size: int) -> Mask:
    memory = np.empty(size + ALIGNMENT, dtype=np.bool_)
    begin = -memory.ctypes.data % ALIGNMENT
    return memory[begin : begin + size]


@dataclass(frozen=True)
class _Inside:
    """The scores that lie between the two of a bracket."""

    below: int  #: How many do not lie above the lower of the two.
    places: NDArray[np.intp]  #: Rising.
    scores: Scores

    def lowest(self, count: int) -> NDArray[np.intp]:
        """Return the places of the lowest; of equal scores, the later first."""
        threshold = _nth_lowest(self.scores, count)
        below = self.places.compress(self.scores < threshold)
        tied = self.places.compress(self.scores == threshold)
        return np.concatenate([below, tied[tied.size - (count - below.size) :]])


def _split(flat: Scores | Magnitudes, bracket: _Bracket, kept: Mask) -> _Inside:
    """Set ``kept`` to what lies above ``bracket.low``; return what lies below ``high`` of that."""
    if flat.size <= _STRETCH:
        return _split_stretch(flat, bracket, kept, 0)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        stretches = threads.map(
            partial(_split_stretch, flat, bracket, kept), range(0, flat.size, _STRETCH)
        )
        return _joined(list(stretches))


def _split_stretch(flat: Scores | Magnitudes, bracket: _Bracket, kept: Mask, start: int) -> _Inside:
    read = _reader(flat)
    inside: list[_Inside] = []
    for at in range(start, min(start + _STRETCH, flat.size), _PIECE):
        piece = slice(at, at + _PIECE)
        scores = read(piece)
        if not (np.isfinite(scores.min()) and np.isfinite(scores.max())):
            require_finite("scores", flat[:])
        above_low = np.greater(scores, bracket.low, out=kept[piece])
        places = np.flatnonzero(above_low & (scores < bracket.high))
        below = scores.size - int(np.count_nonzero(above_low))
        inside.append(_Inside(below, places + at, scores[places]))
    return _joined(inside)


def _reader(flat: Scores | Magnitudes) -> Callable[[slice], Scores]:
    """Return what reads a piece; what it returns holds until the next is read."""
    if isinstance(flat, np.ndarray):
        return flat.__getitem__
    return partial(flat.read, buffer=flat.buffer(min(_PIECE, flat.size)))


def _joined(parts: Sequence[_Inside]) -> _Inside:
    return _Inside(
        below=sum(part.below for part in parts),
        places=np.concatenate([part.places for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
    )


def _keep_first_of(score: float, flat: Scores | Magnitudes, count: int, kept: Mask) -> bool:
    """Keep the first ``count`` of those that score so; return whether there are as many."""
    for start in _starts(flat):
        if count == 0:
            break
        tied = start + np.flatnonzero(flat[start : start + _PIECE] == score)[:count]
        kept[tied] = True
        count -= tied.size
    return count == 0


def _prune_last_of(score: float, flat: Scores | Magnitudes, count: int, kept: Mask) -> bool:
    """Prune the last ``count`` of those that score so; return whether there are as many."""
    for start in reversed(_starts(flat)):
        if count == 0:
            break
        tied = start + np.flatnonzero(flat[start : start + _PIECE] == score)[-count:]
        kept[tied] = False
        count -= tied.size
    return count == 0


def _starts(flat: Scores | Magnitudes) -> range:
    return range(0, flat.size, _PIECE)


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
