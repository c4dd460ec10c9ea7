"""Domains that several settings share, each stated once."""

import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruning_core.errors import NonFiniteWeightsError, PruningConfigError


def require_fraction(field: str, value: float) -> None:
    """Refuse a sparsity outside [0, 1); NaN is outside.

    Raises:
        PruningConfigError: naming ``field``.

    >>> require_fraction("sparsity", 0.5)
    >>> require_fraction("sparsity", 50)
    Traceback (most recent call last):
    pruning_core.errors.PruningConfigError: sparsity must be a fraction in [0, 1). Received: 50
    """
    if not 0 <= value < 1:
        message = f"{field} must be a fraction in [0, 1). Received: {value}"
        raise PruningConfigError(message, field=field)


def require_at_least(field: str, value: float, lowest: float) -> None:
    """Refuse a number below ``lowest``, an infinite one, or NaN.

    Raises:
        PruningConfigError: naming ``field``.
    """
    if not (value >= lowest and math.isfinite(value)):
        message = f"{field} must be at least {lowest}. Received: {value}"
        raise PruningConfigError(message, field=field)


def require_finite(what: str, values: NDArray[np.floating[Any]]) -> None:
    """Refuse NaN and infinity.

    Raises:
        NonFiniteWeightsError: naming ``what``.

    >>> require_finite("scores", np.array([1.0, np.nan]))
    Traceback (most recent call last):
    pruning_core.errors.NonFiniteWeightsError: scores must be finite. Received: 1 of 2 NaN or inf
    """
    finite = np.count_nonzero(np.isfinite(values))
    if finite < values.size:
        message = (
            f"{what} must be finite. Received: {values.size - finite} of {values.size} NaN or inf"
        )
        raise NonFiniteWeightsError(message)


@contextmanager
def refusing_at(place: str) -> Generator[None]:
    """Put ``place`` in front of the field that a refusal names, for example ``layers/0``.

    >>> try:
    ...     with refusing_at("schedule"):
    ...         require_fraction("final_sparsity", 50)
    ... except PruningConfigError as error:
    ...     error.field
    'schedule/final_sparsity'
    """
    try:
        yield
    except PruningConfigError as error:
        raise PruningConfigError(str(error), field=f"{place}/{error.field}") from error
