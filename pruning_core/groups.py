"""The weight tensors of a model that follow one schedule together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import keras

from pruning_core.config import PruningConfig
from pruning_core.mask import count_pruned
from pruning_core.schedule import Schedule
from pruning_core.selection import Prune, Selected, select_pruned


@dataclass(frozen=True)
class Scheduled:
    """Weight tensors that follow one schedule."""

    schedule: Schedule  #: Resolved.
    positions: tuple[int, ...]  #: Where the optimizer has them.
    variables: tuple[keras.Variable, ...]
    names: tuple[str, ...]  #: For messages.

    def is_due(self, step: int, *, done_up_to: int) -> bool:
        """Whether an update falls after step ``done_up_to`` and not after ``step``."""
        last_update = self.schedule.last_update(step)
        return last_update is not None and last_update > done_up_to

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many weights each tensor has."""
        return tuple(math.prod(variable.shape) for variable in self.variables)

    @property
    def size(self) -> int:
        """How many weights all tensors have."""
        return sum(self.sizes)

    def sparsity_at(self, step: int) -> float:
        """Sparsity of the latest update up to ``step``."""
        last_update = self.schedule.last_update(step)
        return 0.0 if last_update is None else self.schedule.sparsity_at(last_update)

    def count_pruned(self, step: int) -> int:
        """How many weights are pruned after ``step``."""
        sparsity = self.sparsity_at(step)
        return sum(count_pruned(size, sparsity) for size in self.sizes)


def by_schedule(model: keras.Model, config: PruningConfig) -> tuple[Scheduled, ...]:
    """Return the weights of ``model`` that ``config`` prunes, those of one schedule together.

    Args:
        model: Built; its trainable variables are those that the optimizer is built with.
        config: Resolved.

    Raises:
        UnsupportedModelError: there are none.
        PruningConfigError: a rule's ``match`` is the name of no layer.
    """
    positions = {id(variable): at for at, variable in enumerate(model.trainable_variables)}
    groups: dict[Schedule, list[Selected]] = {}
    for entry in select_pruned(model, config):
        assert isinstance(entry.decision, Prune)
        groups.setdefault(entry.decision.schedule, []).append(entry)
    return tuple(
        Scheduled(
            schedule=schedule,
            positions=tuple(positions[id(entry.variable)] for entry in group),
            variables=tuple(entry.variable for entry in group),
            names=tuple(entry.name for entry in group),
        )
        for schedule, group in groups.items()
    )
