"""Criteria: what turns weights into scores; higher survives."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating[Any]]


def magnitude(weights: NDArray[Any]) -> Scores:
    """Return |w| for each weight, as float32 where the weights are narrower than that.

    >>> magnitude(np.array([-3.0, 0.5]))
    array([3. , 0.5])
    """
    wide = np.float64 if weights.dtype == np.float64 else np.float32
    return np.abs(weights.astype(wide, copy=False))
