"""The weight tensors of a model that follow one schedule together."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import keras

from pruning_core.allocation import Level, forecast
from pruning_core.config import Allocation, PruningConfig
from pruning_core.granularity import Kernel
from pruning_core.schedule import Schedule, sparsity_in_force
from pruning_core.selection import Prune, Selected, select_pruned


@dataclass(frozen=True)
class Scheduled:
    """Weight tensors that follow one schedule."""

    schedule: Schedule  #: Resolved.
    allocation: Allocation
    positions: tuple[int, ...]  #: Where the optimizer has them.
    variables: tuple[keras.Variable, ...]
    kernels: tuple[Kernel, ...]
    names: tuple[str, ...]  #: For messages.

    def is_due(self, step: int, *, done_up_to: int) -> bool:
        """Whether an update falls after step ``done_up_to`` and not after ``step``."""
        last_update = self.schedule.last_update(step)
        return last_update is not None and last_update > done_up_to

    @property
    def size(self) -> int:
        """How many weights all tensors have."""
        return sum(kernel.size for kernel in self.kernels)

    def level_at(self, step: int) -> Level:
        """How far the latest update up to ``step`` goes."""
        return Level(
            sparsity=sparsity_in_force(self.schedule, step),
            last_sparsity=self.schedule.last_sparsity,
        )

    def count_pruned(self, step: int) -> int:
        """How many weights are pruned after ``step``; see ``allocation.Forecast.total``."""
        return _total(self.allocation, self.kernels, self.level_at(step))


# It is asked after every step, and changes with an update only.
@functools.lru_cache
def _total(allocation: Allocation, kernels: tuple[Kernel, ...], level: Level) -> int:
    return forecast(allocation, kernels, level).total


def by_schedule(model: keras.Model, config: PruningConfig) -> tuple[Scheduled, ...]:
    """Return the weights of ``model`` that ``config`` prunes, those of one schedule together.

    Args:
        model: Built; its trainable variables are those that the optimizer is built with.
        config: Resolved.

    Raises:
        UnsupportedModelError: there are none.
        PruningConfigError: a rule's ``match`` is the name of no layer.
    """
    assert config.allocation is not None, "the configuration is resolved"
    positions = {id(variable): at for at, variable in enumerate(model.trainable_variables)}
    groups: dict[Schedule, list[tuple[Selected, Kernel]]] = {}
    for entry in select_pruned(model, config):
        assert isinstance(entry.decision, Prune)
        kernel = Kernel(entry.shape, entry.decision.granularity, entry.decision.layout)
        groups.setdefault(entry.decision.schedule, []).append((entry, kernel))
    return tuple(
        Scheduled(
            schedule=schedule,
            allocation=config.allocation,
            positions=tuple(positions[id(entry.variable)] for entry, _ in group),
            variables=tuple(entry.variable for entry, _ in group),
            kernels=tuple(kernel for _, kernel in group),
            names=tuple(entry.name for entry, _ in group),
        )
        for schedule, group in groups.items()
    )
