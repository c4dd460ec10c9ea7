"""What to prune, and how: the settings of one pruning run, as values.

Criterion, granularity, allocation and schedule are independent of one another, but for ``NOfM``,
which says itself how far. New ones join the unions below.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import ClassVar, Literal, Self, TypeAlias

from pruning_core.checks import refusing_at, require_at_least
from pruning_core.errors import PruningConfigError
from pruning_core.schedule import DEFAULT_SPARSITY, PolynomialDecay, Schedule


@dataclass(frozen=True, kw_only=True)
class Unstructured:
    """Each weight stands or falls alone."""

    __pydantic_config__: ClassVar[dict[str, str | bool]] = {"extra": "forbid", "strict": True}

    kind: Literal["unstructured"] = "unstructured"


@dataclass(frozen=True, kw_only=True)
class Block:
    """Rectangles of a kernel stand or fall together, by the mean or the maximum of their |w|.

    They are those of the kernel as a matrix, a column for each output (see ``granularity``), and
    begin at its first entry; at the far edges, what there is of a block is one.

    Args:
        block_size: Rows (inputs) and columns (outputs) of a block, each at least 1.
        pooling: What a block is worth: the ``mean`` or the ``max`` of its entries.

    Raises:
        PruningConfigError: a size lies below 1.
    """

    __pydantic_config__: ClassVar[dict[str, str | bool]] = {"extra": "forbid", "strict": True}

    kind: Literal["block"] = "block"
    block_size: tuple[int, int] = (4, 1)
    pooling: Literal["mean", "max"] = "mean"

    def __post_init__(self) -> None:
        """Refuse a block that holds nothing."""
        if min(self.block_size) < 1:
            message = f"block_size must be at least 1 by 1. Received: {list(self.block_size)}"
            raise PruningConfigError(message, field="block_size")


@dataclass(frozen=True, kw_only=True)
class NOfM:
    """Of each ``group`` consecutive weights along the input channels, ``zeros`` are pruned.

    The pattern says how far: a schedule leads there, and must end at ``zeros / group``. On the
    way, of the weights that the pattern will prune those that score lowest go first. The last
    group of a kernel whose channels ``group`` does not divide counts as filled up with zeros,
    which go first: 2 of 4 prune 3 of 7.

    Args:
        zeros: How many of a group are pruned, at least 1.
        group: How many weights make a group, more than ``zeros``.

    Raises:
        PruningConfigError: a setting lies outside its domain.
    """

    __pydantic_config__: ClassVar[dict[str, str | bool]] = {"extra": "forbid", "strict": True}

    kind: Literal["n_of_m"] = "n_of_m"
    zeros: int = 2
    group: int = 4

    def __post_init__(self) -> None:
        """Refuse a pattern that prunes nothing, or everything."""
        require_at_least("zeros", self.zeros, 1)
        if self.group <= self.zeros:
            message = f"group must be more than zeros ({self.zeros}). Received: {self.group}"
            raise PruningConfigError(message, field="group")

    @property
    def sparsity(self) -> float:
        """Where every schedule must end: ``zeros / group``."""
        return self.zeros / self.group


@dataclass(frozen=True, kw_only=True)
class Channel:
    """The weights of one output (a filter, a unit) stand or fall together, by their L2 norm.

    The norm is taken as root mean square, so that filters of unlike sizes compare under a global
    allocation. The filters stay in the kernel, as zeros, and what is added behind them becomes zero
    with them: bias, and batch normalisation. ``compact`` takes them out.
    """

    __pydantic_config__: ClassVar[dict[str, str | bool]] = {"extra": "forbid", "strict": True}

    kind: Literal["channel"] = "channel"


Granularity: TypeAlias = Unstructured | Block | NOfM | Channel


@dataclass(frozen=True, kw_only=True)
class Uniform:
    """Every prunable tensor gets the scheduled sparsity."""

    __pydantic_config__: ClassVar[dict[str, str | bool]] = {"extra": "forbid", "strict": True}

    kind: Literal["uniform"] = "uniform"


@dataclass(frozen=True, kw_only=True)
class Global:
    """One ranking over all tensors that follow one schedule: the weakest go, wherever they are.

    Args:
        floor: Share, in [0, 1], of what uniform allocation would leave of a tensor in the end,
            that is always left of it; one unit of the granularity is left in any case.

    Raises:
        PruningConfigError: ``floor`` is no such share.
    """

    __pydantic_config__: ClassVar[dict[str, str | bool]] = {"extra": "forbid", "strict": True}

    kind: Literal["global"] = "global"
    floor: float = 0.1

    def __post_init__(self) -> None:
        """Refuse a floor that is no share."""
        if not 0 <= self.floor <= 1:
            message = f"floor must be a fraction in [0, 1]. Received: {self.floor}"
            raise PruningConfigError(message, field="floor")


@dataclass(frozen=True, kw_only=True)
class ErdosRenyiKernel:
    """Small tensors stay denser: what is left of each is proportional to the sum of its sides.

    A tensor that would be left with more than it has stays dense, and the others make up for it.
    Shapes alone decide.

    Source: Evci et al., 2020, "Rigging the Lottery: Making All Tickets Winners", section 3.1,
    arXiv:1911.11134.
    """

    __pydantic_config__: ClassVar[dict[str, str | bool]] = {"extra": "forbid", "strict": True}

    kind: Literal["erdos_renyi_kernel"] = "erdos_renyi_kernel"


@dataclass(frozen=True, kw_only=True)
class LayerAdaptive:
    """The weights whose loss changes the outputs of their own layer least go first.

    Weights are ranked over all tensors by their LAMP score: of a tensor's weights in rising order
    of magnitude, ``w_u^2 / sum(w_v^2 for v >= u)``, the share of what is left of the tensor that
    goes with this weight. One unit is left of every tensor. It needs no data, and is the allocation
    for pruning without any.

    Source: Lee et al., 2021, "Layer-adaptive Sparsity for the Magnitude-based Pruning", section
    2.2, arXiv:2010.07611.
    """

    __pydantic_config__: ClassVar[dict[str, str | bool]] = {"extra": "forbid", "strict": True}

    kind: Literal["layer_adaptive"] = "layer_adaptive"


Allocation: TypeAlias = Uniform | Global | ErdosRenyiKernel | LayerAdaptive


@dataclass(frozen=True, kw_only=True)
class LayerRule:
    """What is different about the layers that it covers. The first rule that covers one wins.

    Args:
        match: Name or glob, case-sensitive. It is held against the layer's path
            (``encoder/dense``) and against each name on it, so a rule for a nested model or a
            wrapper holds for everything inside.
        type: Name of a class (``Conv2D``), of the layer's own or of what it is inside of; ``None``
            for any.
        skip: True leaves the layer dense. False prunes its depthwise kernel too, and by
            ``Channel`` a layer whose outputs are the model's: both are left dense otherwise.
        schedule: Instead of the run's; ``None`` for the same.
        granularity: Instead of the run's; ``None`` for the same.

    Raises:
        PruningConfigError: ``match`` or ``type`` is empty, or a skipped layer is given settings.
    """

    __pydantic_config__: ClassVar[dict[str, str | bool]] = {"extra": "forbid", "strict": True}

    match: str = "*"
    type: str | None = None
    skip: bool | None = None
    schedule: Schedule | None = None
    granularity: Granularity | None = None

    def __post_init__(self) -> None:
        """Refuse a rule that says nothing or contradicts itself."""
        if not self.match:
            message = "match must be a layer name or a glob. Received: ''"
            raise PruningConfigError(message, field="match")
        if self.type is not None and not self.type:
            message = "type must be the name of a class. Received: ''"
            raise PruningConfigError(message, field="type")
        if self.skip and (self.schedule is not None or self.granularity is not None):
            message = "skip must be false where schedule or granularity is given. Received: true"
            raise PruningConfigError(message, field="skip")

    def covers(self, path: str, types: Collection[str] = ()) -> bool:
        """Whether the rule holds for a layer.

        Args:
            path: Names from the model's child down, joined by ``/``.
            types: Names of the classes of the layers on the path.

        >>> LayerRule(match="conv*", skip=True).covers("backbone/conv2d_1")
        True
        >>> LayerRule(type="Conv2D", skip=True).covers("backbone/stem", ("Sequential", "Conv2D"))
        True
        """
        return (self.type is None or self.type in types) and any(
            fnmatchcase(name, self.match) for name in (path, *path.split("/"))
        )


@dataclass(frozen=True, kw_only=True)
class PruningConfig:
    """One pruning run: how far, in which pieces, shared how, and where not.

    Args:
        schedule: Which sparsity at which step.
        granularity: Which weights stand or fall together.
        allocation: How the sparsity is shared among tensors; ``None`` for ``Uniform`` with a
            training and ``LayerAdaptive`` without one.
        layers: What is different where.

    Raises:
        PruningConfigError: a schedule ends elsewhere than at the sparsity of the ``NOfM`` that
            it leads to; ``field`` is its place, for example ``layers/0/schedule``.
    """

    schedule: Schedule = field(default_factory=PolynomialDecay)
    granularity: Granularity = field(default_factory=Unstructured)
    allocation: Allocation | None = None
    layers: tuple[LayerRule, ...] = ()

    def __post_init__(self) -> None:
        """Refuse schedules that do not lead to their granularity."""
        _require_pattern("schedule", self.schedule, self.granularity)
        for place, rule in enumerate(self.layers):
            field_ = f"layers/{place}/schedule"
            if rule.schedule is not None:
                _require_pattern(field_, rule.schedule, rule.granularity or self.granularity)
            elif not _leads_to(self.schedule, rule.granularity):
                message = (
                    "schedule must be given for n_of_m where the run's schedule does not end at "
                    "zeros / group. Received: none"
                )
                raise PruningConfigError(message, field=field_)

    @property
    def prunes_filters(self) -> bool:
        """Whether some layers are pruned by whole filters."""
        granularities = (self.granularity, *(rule.granularity for rule in self.layers))
        return any(isinstance(each, Channel) for each in granularities)

    def rule_for(self, path: str, types: Collection[str] = ()) -> LayerRule | None:
        """First rule that covers the layer, see ``LayerRule.covers``; ``None`` when none does."""
        return next((rule for rule in self.layers if rule.covers(path, types)), None)

    def with_sparsities(self) -> Self:
        """Return the configuration with the sparsities that schedules left open filled in.

        They become ``zeros / group`` under n_of_m, and ``DEFAULT_SPARSITY`` elsewhere. A rule
        for n_of_m without a schedule gets the run's, to that sparsity.

        Raises:
            PruningConfigError: a schedule would have to fall.
        """
        schedule = _with_sparsity("schedule", self.schedule, self.granularity)
        return dataclasses.replace(
            self,
            schedule=schedule,
            layers=tuple(
                self._with_sparsity(f"layers/{place}/schedule", rule, schedule)
                for place, rule in enumerate(self.layers)
            ),
        )

    def _with_sparsity(self, field_: str, rule: LayerRule, runs: Schedule) -> LayerRule:
        if rule.schedule is None and not isinstance(rule.granularity, NOfM):
            return rule
        granularity = rule.granularity or self.granularity
        own = _with_sparsity(field_, rule.schedule or self.schedule, granularity)
        return rule if own == runs else dataclasses.replace(rule, schedule=own)

    def resolved(self, total_steps: int) -> Self:
        """Return the configuration with everything that was left open filled in.

        Args:
            total_steps: Optimizer steps of the whole training; 0 for none.

        Raises:
            PruningConfigError: a schedule would not be over when the training is, or would have
                to fall to a sparsity that was left open; ``field`` is its place, for example
                ``layers/0/schedule/end_step``.
        """
        known = self.with_sparsities()
        usual = Uniform() if total_steps else LayerAdaptive()
        return dataclasses.replace(
            known,
            schedule=_resolved("schedule", known.schedule, total_steps),
            allocation=usual if known.allocation is None else known.allocation,
            layers=tuple(
                rule
                if rule.schedule is None
                else dataclasses.replace(
                    rule,
                    schedule=_resolved(f"layers/{position}/schedule", rule.schedule, total_steps),
                )
                for position, rule in enumerate(known.layers)
            ),
        )


def _open_sparsity(granularity: Granularity) -> float:
    return granularity.sparsity if isinstance(granularity, NOfM) else DEFAULT_SPARSITY


def _with_sparsity(field_: str, schedule: Schedule, granularity: Granularity) -> Schedule:
    with refusing_at(field_):
        return schedule.with_sparsity(_open_sparsity(granularity))


def _leads_to(schedule: Schedule, granularity: Granularity | None) -> bool:
    if not isinstance(granularity, NOfM):
        return True
    return schedule.with_sparsity(granularity.sparsity).last_sparsity == granularity.sparsity


def _require_pattern(field_: str, schedule: Schedule, granularity: Granularity) -> None:
    with refusing_at(field_):
        if not _leads_to(schedule, granularity):
            name = "target_sparsity" if hasattr(schedule, "target_sparsity") else "final_sparsity"
            message = (
                f"{name} must be zeros / group ({_open_sparsity(granularity)}) under n_of_m, or be "
                f"left out. Received: {schedule.last_sparsity}"
            )
            raise PruningConfigError(message, field=name)


def _resolved(field_: str, schedule: Schedule, total_steps: int) -> Schedule:
    with refusing_at(field_):
        return schedule.resolved(total_steps)
