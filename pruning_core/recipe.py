"""What helps a model through its pruning, as values: beside the settings of the pruning itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from pruning_core.errors import PruningConfigError


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """The unpruned model teaches the one that is pruned: its outputs are part of the loss.

    ``loss = (1 - weight) * own loss + weight * distance``; the distance of an output from the
    unpruned model's is ``temperature^2 * KL`` of classes and of flags, and the mean squared
    difference of quantities.

    Args:
        weight: Share of the distance, above 0 and at most 1; 1 needs no labels.
        temperature: Above 0; the higher, the more counts how the improbable classes compare.

    Raises:
        PruningConfigError: a setting lies outside its domain.

    Source: Hinton et al., 2015, "Distilling the Knowledge in a Neural Network", section 2.
    arXiv:1503.02531
    """

    __pydantic_config__: ClassVar[dict[str, str | bool]] = {"extra": "forbid", "strict": True}

    weight: float = 0.5
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Refuse settings outside their domain."""
        if not 0 < self.weight <= 1:
            message = f"weight must be above 0 and at most 1. Received: {self.weight}"
            raise PruningConfigError(message, field="weight")
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            message = f"temperature must be above 0. Received: {self.temperature}"
            raise PruningConfigError(message, field="temperature")
