"""Criteria: what turns weights into scores; higher survives."""

from __future__ import annotations

from types import EllipsisType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating[Any]]


def magnitude(weights: NDArray[Any]) -> Scores:
    """Return |w| for each weight, as float32 where the weights are narrower than that.

    >>> magnitude(np.array([-3.0, 0.5]))
    array([3. , 0.5])
    """
    return np.abs(weights.astype(_wide(weights), copy=False))


def _wide(weights: NDArray[Any]) -> type[np.floating[Any]]:
    return np.float64 if weights.dtype == np.float64 else np.float32


class Magnitudes:
    """The magnitudes of a tensor, worked out where they are asked for.

    It stands for the array that ``magnitude`` returns, and takes no memory.

    >>> Magnitudes(np.array([-3.0, 0.5, -2.0]))[1:]
    array([0.5, 2. ])
    """

    def __init__(self, weights: NDArray[Any]) -> None:
        self._weights = weights

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self._weights.shape

    @property
    def size(self) -> int:
        """How many weights it has."""
        return self._weights.size

    def ravel(self) -> Self:
        """Return the same in one line, in C order."""
        return type(self)(self._weights.ravel())

    def buffer(self, size: int) -> Scores:
        """Return memory for so many of them, see ``read``."""
        return np.empty(size, dtype=_wide(self._weights))

    def read(self, where: slice, buffer: Scores) -> Scores:
        """Return those of a slice of one line, in the front of ``buffer``.

        Fresh memory for every piece of a large tensor takes longer than all that is done with it.
        """
        weights = self._weights[where]
        return np.abs(weights, out=buffer[: weights.size])

    def __getitem__(self, where: slice | EllipsisType | NDArray[np.intp]) -> Scores:
        return magnitude(self._weights[where])
