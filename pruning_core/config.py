"""What to prune, and how: the settings of one pruning run, as values.

Criterion, granularity, allocation and schedule are independent of one another; magnitude pruning
is one choice of each. New ones join the unions below.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import ClassVar, Literal, Self, TypeAlias

from pruning_core.errors import PruningConfigError
from pruning_core.schedule import PolynomialDecay, Schedule


@dataclass(frozen=True, kw_only=True)
class Unstructured:
    """Each weight stands or falls alone."""

    __pydantic_config__: ClassVar[dict[str, str | bool]] = {"extra": "forbid", "strict": True}

    kind: Literal["unstructured"] = "unstructured"


Granularity: TypeAlias = Unstructured


@dataclass(frozen=True, kw_only=True)
class Uniform:
    """Every prunable tensor gets the scheduled sparsity."""

    __pydantic_config__: ClassVar[dict[str, str | bool]] = {"extra": "forbid", "strict": True}

    kind: Literal["uniform"] = "uniform"


Allocation: TypeAlias = Uniform


@dataclass(frozen=True, kw_only=True)
class LayerRule:
    """What is different about the layers whose name matches. The first rule that matches wins.

    Args:
        match: Name or glob, case-sensitive. It is held against the layer's path
            (``encoder/dense``) and against each name on it, so a rule for a nested model or a
            wrapper holds for everything inside.
        skip: Leave the layer dense.
        schedule: Instead of the run's; ``None`` for the same.
        granularity: Instead of the run's; ``None`` for the same.

    Raises:
        PruningConfigError: ``match`` is empty, or a skipped layer is given settings.
    """

    __pydantic_config__: ClassVar[dict[str, str | bool]] = {"extra": "forbid", "strict": True}

    match: str
    skip: bool = False
    schedule: Schedule | None = None
    granularity: Granularity | None = None

    def __post_init__(self) -> None:
        """Refuse a rule that says nothing or contradicts itself."""
        if not self.match:
            message = "match must be a layer name or a glob. Received: ''"
            raise PruningConfigError(message, field="match")
        if self.skip and (self.schedule is not None or self.granularity is not None):
            message = "skip must be false where schedule or granularity is given. Received: true"
            raise PruningConfigError(message, field="skip")

    def covers(self, path: str) -> bool:
        """Whether the rule holds for the layer at ``path`` (names joined by ``/``).

        >>> LayerRule(match="conv*", skip=True).covers("backbone/conv2d_1")
        True
        """
        return fnmatchcase(path, self.match) or any(
            fnmatchcase(name, self.match) for name in path.split("/")
        )


@dataclass(frozen=True, kw_only=True)
class PruningConfig:
    """One pruning run: how far, in which pieces, shared how, and where not."""

    schedule: Schedule = field(default_factory=PolynomialDecay)
    granularity: Granularity = field(default_factory=Unstructured)
    allocation: Allocation = field(default_factory=Uniform)
    layers: tuple[LayerRule, ...] = ()

    def rule_for(self, path: str) -> LayerRule | None:
        """First rule that covers ``path``; ``None`` when none does."""
        return next((rule for rule in self.layers if rule.covers(path)), None)

    def resolved(self, total_steps: int) -> Self:
        """Return the configuration with the open ends of all schedules filled in.

        Args:
            total_steps: Optimizer steps of the whole training; 0 for none.

        Raises:
            PruningConfigError: a schedule would not be over when the training is; ``field`` is
                its place, for example ``layers/0/schedule/end_step``.
        """
        return dataclasses.replace(
            self,
            schedule=_resolved("schedule", self.schedule, total_steps),
            layers=tuple(
                rule
                if rule.schedule is None
                else dataclasses.replace(
                    rule,
                    schedule=_resolved(f"layers/{position}/schedule", rule.schedule, total_steps),
                )
                for position, rule in enumerate(self.layers)
            ),
        )


def _resolved(field_: str, schedule: Schedule, total_steps: int) -> Schedule:
    try:
        return schedule.resolved(total_steps)
    except PruningConfigError as error:
        raise PruningConfigError(str(error), field=f"{field_}/{error.field}") from error
