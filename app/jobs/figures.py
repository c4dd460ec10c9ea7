"""Measured numbers, as JSON can carry them."""

import math
from typing import Annotated

from pydantic import BeforeValidator


def _finite_or_none(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


#: A measured number. A loss can overflow, and JSON has no NaN: what is not finite is ``None``.
Figure = Annotated[float | None, BeforeValidator(_finite_or_none)]
