"""What will become of each weight tensor of a model: from its file's summary alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.jobs.uploads import ModelSummary, WeightSummary
from pruning_core.allocation import Level, forecast
from pruning_core.config import PruningConfig
from pruning_core.decision import Prune, Skip, Weight, decide
from pruning_core.granularity import Kernel
from pruning_core.schedule import Schedule


@dataclass(frozen=True)
class Outlook:
    """One weight tensor, and what a configuration makes of it."""

    weight: WeightSummary
    decision: Prune | Skip
    #: Weights that are pruned, exact to the last; ``None`` where only their values decide.
    pruned: int | None
    expected_sparsity: float  #: About what it will be, in [0, 1].

    @property
    def size(self) -> int:
        """How many weights it has."""
        return math.prod(self.weight.shape)


@dataclass(frozen=True)
class Outlooks:
    """All weight tensors of a model, in its order."""

    tensors: tuple[Outlook, ...]
    schedules: tuple[Schedule, ...]  #: That prune something; at least one.
    pruned: int  #: Weights that are pruned in all.
    is_exact: bool  #: False where ``pruned`` depends on which units go, and is the nearest guess.


def outlooks(model: ModelSummary, config: PruningConfig) -> Outlooks:
    """Return what ``config`` makes of ``model``.

    Args:
        model: As the static check found it.
        config: Without open ends, see ``PruningConfig.resolved``.
    """
    assert config.allocation is not None, "the configuration is resolved"
    decided = decisions(model, config)
    tensors = [
        Outlook(weight, decision, pruned=0, expected_sparsity=0.0)
        for weight, decision in zip(model.weights, decided, strict=True)
    ]
    pruned, is_exact = 0, True
    by_schedule = _by_schedule(model, decided)
    for schedule, kernels in by_schedule.items():
        level = Level(schedule.last_sparsity, schedule.last_sparsity)
        ahead = forecast(config.allocation, list(kernels.values()), level)
        pruned, is_exact = pruned + ahead.total, is_exact and ahead.is_exact
        for (place, kernel), units, weights in zip(
            kernels.items(), ahead.units, ahead.weights, strict=True
        ):
            expected = _expected(kernel, units, level.sparsity)
            tensors[place] = dataclasses.replace(
                tensors[place], pruned=weights, expected_sparsity=expected
            )
    return Outlooks(tuple(tensors), tuple(by_schedule), pruned, is_exact)


def decisions(model: ModelSummary, config: PruningConfig) -> tuple[Prune | Skip, ...]:
    """Return what ``config`` does with each weight tensor of ``model``, in its order."""
    types = layer_types(model)
    return tuple(
        decide(_facts(weight, types, is_answer=weight.layer in model.outputs), config)
        for weight in model.weights
    )


def layer_types(model: ModelSummary) -> Mapping[str, tuple[str, ...]]:
    """Return, by the path of each layer, the classes that a rule can mean it by."""
    own = {layer.name: layer.class_name for layer in model.layers}
    return {path: tuple(own[outer] for outer in _outer(path) if outer in own) for path in own}


def _facts(
    weight: WeightSummary, types: Mapping[str, tuple[str, ...]], *, is_answer: bool
) -> Weight:
    return Weight(
        path=weight.layer,
        types=types.get(weight.layer, ()),
        class_name=weight.class_name,
        name=weight.weight,
        rank=len(weight.shape),
        dtype=weight.dtype,
        is_trainable=weight.trainable,
        equation=weight.equation,
        is_answer=is_answer,
    )


def _outer(path: str) -> Iterator[str]:
    names = path.split("/")
    return ("/".join(names[: depth + 1]) for depth in range(len(names)))


def _by_schedule(
    model: ModelSummary, decided: Sequence[Prune | Skip]
) -> dict[Schedule, dict[int, Kernel]]:
    """Return the pruned tensors of each schedule, by their place in the model."""
    groups: dict[Schedule, dict[int, Kernel]] = {}
    for place, (weight, decision) in enumerate(zip(model.weights, decided, strict=True)):
        if isinstance(decision, Prune):
            kernel = Kernel(weight.shape, decision.granularity, decision.layout)
            groups.setdefault(decision.schedule, {})[place] = kernel
    return groups


def _expected(kernel: Kernel, units: int | None, sparsity: float) -> float:
    if units is None or not kernel.size:
        return sparsity
    return units / (kernel.size if kernel.unit_size == 1 else kernel.units)
