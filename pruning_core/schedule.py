"""Schedules: which sparsity at which step, and nothing else.

Step ``t`` is the number of optimizer steps done: the mask update "at step t" follows the t-th
step, and the one at step 0 precedes the first. A schedule may leave three things open: the
sparsity that it ends with, which ``with_sparsity`` fills in, and its end and how often the masks
change, which ``resolved`` fills in from the length of the training, or refuses. Only a schedule
without open ends can be asked for a sparsity or an update; ``PruningConfig.resolved`` closes all.

Every schedule prunes at ``begin_step`` for the first time and at its end for the last, and its
sparsity never falls.
"""

from __future__ import annotations

import dataclasses
import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import ClassVar, Literal, Self, TypeAlias, TypeVar

from pruning_core.checks import require_at_least, require_fraction
from pruning_core.errors import PruningConfigError

#: Share of the steps after ``begin_step`` in which a schedule with an open end reaches its final
#: sparsity; the rest of the training recovers the accuracy.
PRUNING_SHARE = 0.75

#: Intervals between updates that an open ``frequency`` makes at least of a schedule, as far as it
#: has steps: fewer and larger cuts cost accuracy that a short training does not win back.
LEAST_INTERVALS = 40

#: Longest interval, in steps, that an open ``frequency`` becomes.
LONGEST_INTERVAL = 100

#: Sparsity that a schedule ends with where nothing else says how far to prune.
DEFAULT_SPARSITY = 0.8


@dataclass(frozen=True, kw_only=True)
class Constant:
    """``target_sparsity`` from ``begin_step`` on, the mask chosen anew every ``frequency`` steps.

    Sparsity is a level, not a further cut: a model that already has it loses nothing more.

    Args:
        target_sparsity: Fraction of the weights to prune, in [0, 1); ``None`` leaves it open.
        begin_step: Step of the first update.
        end_step: Step of the last update; ``None`` for the last step of the training.
        frequency: Steps between two updates; ``None`` for what suits the length, see
            ``PolynomialDecay.resolved``.

    Raises:
        PruningConfigError: a setting lies outside its domain.
    """

    __pydantic_config__: ClassVar[dict[str, str | bool]] = {"extra": "forbid", "strict": True}

    kind: Literal["constant"] = "constant"
    target_sparsity: float | None = None
    begin_step: int = 0
    end_step: int | None = None
    frequency: int | None = None

    def __post_init__(self) -> None:
        """Refuse settings outside their domain."""
        _require_open_or_fraction("target_sparsity", self.target_sparsity)
        _require_range(self.begin_step, self.end_step)
        _require_open_or_positive("frequency", self.frequency)

    @property
    def last_sparsity(self) -> float:
        """Sparsity that the training ends with."""
        return _require_known("target_sparsity", self.target_sparsity)

    def with_sparsity(self, sparsity: float) -> Self:
        """Return the schedule with ``target_sparsity`` filled in, if it was left open."""
        if self.target_sparsity is not None:
            return self
        return dataclasses.replace(self, target_sparsity=sparsity)

    def resolved(self, total_steps: int) -> Self:
        """Return the schedule with what is open filled in; see ``PolynomialDecay.resolved``."""
        return _with_frequency(_with_end(self, total_steps, open_end=total_steps))

    def sparsity_at(self, step: int) -> float:
        """Sparsity that step ``step`` asks for; 0 before ``begin_step``.

        >>> Constant(target_sparsity=0.5, begin_step=10).sparsity_at(9)
        0.0
        """
        return self.last_sparsity if step >= self.begin_step else 0.0

    def last_update(self, step: int) -> int | None:
        """Step of the latest update up to ``step``; ``None`` before the first."""
        return _last_periodic_update(self, step)


@dataclass(frozen=True, kw_only=True)
class PolynomialDecay:
    """Sparsity rises fast at first and ever more slowly to ``final_sparsity``.

    ``s = s_f + (s_i - s_f) * (1 - p)^power`` with
    ``p = clip((t - begin_step) / (end_step - begin_step), 0, 1)``.

    At the first update the mask jumps straight to ``initial_sparsity`` (0.5: half of the weights
    go at once; 0: the model starts dense). ``begin_step == end_step`` is a jump to
    ``final_sparsity``.

    Args:
        initial_sparsity: ``s_i``, in [0, 1).
        final_sparsity: ``s_f``, in [0, 1), not below ``initial_sparsity``; ``None`` leaves it open.
        begin_step: Step of the first update.
        end_step: Step of the last update; ``None`` for ``PRUNING_SHARE`` of the training.
        frequency: Steps between two updates; the last lands on ``end_step`` all the same.
            ``None`` for what suits the length, see ``resolved``.
        power: Exponent, above 0; 3 is the cubic rule of the paper.

    Raises:
        PruningConfigError: a setting lies outside its domain.

    Source: Zhu and Gupta, 2017, "To prune, or not to prune", eq. 1. arXiv:1710.01878

    >>> schedule = PolynomialDecay(
    ...     initial_sparsity=0.2, final_sparsity=0.8, begin_step=100, end_step=110
    ... )
    >>> [round(schedule.sparsity_at(step), 4) for step in (99, 100, 102, 105, 110, 500)]
    [0.0, 0.2, 0.4928, 0.725, 0.8, 0.8]
    """

    __pydantic_config__: ClassVar[dict[str, str | bool]] = {"extra": "forbid", "strict": True}

    kind: Literal["polynomial_decay"] = "polynomial_decay"
    initial_sparsity: float = 0.0
    final_sparsity: float | None = None
    begin_step: int = 0
    end_step: int | None = None
    frequency: int | None = None
    power: float = 3.0

    def __post_init__(self) -> None:
        """Refuse settings outside their domain."""
        _require_rise(self.initial_sparsity, self.final_sparsity)
        _require_range(self.begin_step, self.end_step)
        _require_open_or_positive("frequency", self.frequency)
        if not (self.power > 0 and math.isfinite(self.power)):
            message = f"power must be above 0. Received: {self.power}"
            raise PruningConfigError(message, field="power")

    @property
    def last_sparsity(self) -> float:
        """Sparsity that the training ends with."""
        return _require_known("final_sparsity", self.final_sparsity)

    def with_sparsity(self, sparsity: float) -> Self:
        """Return the schedule with ``final_sparsity`` filled in, if it was left open.

        Raises:
            PruningConfigError: ``initial_sparsity`` lies above ``sparsity``.
        """
        if self.final_sparsity is not None:
            return self
        return dataclasses.replace(self, final_sparsity=sparsity)

    def resolved(self, total_steps: int) -> Self:
        """Return the schedule with ``end_step`` and ``frequency`` filled in.

        An open ``frequency`` becomes a ``LEAST_INTERVALS``-th of the steps from ``begin_step`` to
        ``end_step``, rounded down, from 1 to ``LONGEST_INTERVAL``.

        Args:
            total_steps: Optimizer steps of the whole training; 0 for none, where only a
                schedule that begins at 0 can be met, by one jump.

        Raises:
            PruningConfigError: the schedule would not be over when the training is.

        >>> schedule = PolynomialDecay(begin_step=20).resolved(total_steps=180)
        >>> schedule.end_step, schedule.frequency
        (140, 3)
        """
        open_end = _shared_end(self.begin_step, total_steps)
        return _with_frequency(_with_end(self, total_steps, open_end=open_end))

    def sparsity_at(self, step: int) -> float:
        """Sparsity that step ``step`` asks for; 0 before ``begin_step``."""
        if step < self.begin_step:
            return 0.0
        span = _require_filled_in("end_step", self.end_step) - self.begin_step
        progress = min((step - self.begin_step) / span, 1.0) if span else 1.0
        remaining = (1.0 - progress) ** self.power
        return self.last_sparsity + (self.initial_sparsity - self.last_sparsity) * remaining

    def last_update(self, step: int) -> int | None:
        """Step of the latest update up to ``step``; ``None`` before the first."""
        return _last_periodic_update(self, step)


@dataclass(frozen=True, kw_only=True)
class OneShot:
    """One jump to ``target_sparsity`` at ``begin_step``; then only fine-tuning.

    Args:
        target_sparsity: Fraction of the weights to prune, in [0, 1); ``None`` leaves it open.
        begin_step: Step of the only update.

    Raises:
        PruningConfigError: a setting lies outside its domain.
    """

    __pydantic_config__: ClassVar[dict[str, str | bool]] = {"extra": "forbid", "strict": True}

    kind: Literal["one_shot"] = "one_shot"
    target_sparsity: float | None = None
    begin_step: int = 0

    def __post_init__(self) -> None:
        """Refuse settings outside their domain."""
        _require_open_or_fraction("target_sparsity", self.target_sparsity)
        _require_range(self.begin_step, None)

    @property
    def last_sparsity(self) -> float:
        """Sparsity that the training ends with."""
        return _require_known("target_sparsity", self.target_sparsity)

    def with_sparsity(self, sparsity: float) -> Self:
        """Return the schedule with ``target_sparsity`` filled in, if it was left open."""
        if self.target_sparsity is not None:
            return self
        return dataclasses.replace(self, target_sparsity=sparsity)

    def resolved(self, total_steps: int) -> Self:
        """Return the schedule itself, whose end is where it begins.

        Raises:
            PruningConfigError: ``begin_step`` lies after the training.
        """
        _require_within("begin_step", self.begin_step, total_steps)
        return self

    def sparsity_at(self, step: int) -> float:
        """Sparsity that step ``step`` asks for; 0 before ``begin_step``."""
        return self.last_sparsity if step >= self.begin_step else 0.0

    def last_update(self, step: int) -> int | None:
        """``begin_step`` once it is reached, ``None`` before."""
        return self.begin_step if step >= self.begin_step else None


@dataclass(frozen=True, kw_only=True)
class Iterative:
    """A staircase: prune, fine-tune, prune further, ``rounds`` times.

    Round ``k`` of ``n`` prunes at ``begin_step + k * (end_step - begin_step) / n``, rounded up,
    to the density ``d_k = d_i * (d_f / d_i)^(k / n)``: each round removes the same fraction of
    what is left. Density is 1 - sparsity; round 0 is the jump to ``initial_sparsity``.

    Args:
        initial_sparsity: Sparsity at ``begin_step``, in [0, 1).
        final_sparsity: Sparsity at ``end_step``, in [0, 1), not below ``initial_sparsity``;
            ``None`` leaves it open.
        rounds: How many rounds; at most one for each step.
        begin_step: Step of the jump to ``initial_sparsity``.
        end_step: Step of the last round; ``None`` for ``PRUNING_SHARE`` of the training.

    Raises:
        PruningConfigError: a setting lies outside its domain.

    Source: Han et al., 2015, "Learning both Weights and Connections for Efficient Neural
    Networks", section 3.4, arXiv:1506.02626; the equal fractions: Frankle and Carbin, 2018,
    "The Lottery Ticket Hypothesis", section 2, arXiv:1803.03635.

    >>> schedule = Iterative(final_sparsity=0.75, rounds=2, end_step=100)
    >>> [schedule.sparsity_at(step) for step in (0, 49, 50, 99, 100)]
    [0.0, 0.0, 0.5, 0.5, 0.75]
    """

    __pydantic_config__: ClassVar[dict[str, str | bool]] = {"extra": "forbid", "strict": True}

    kind: Literal["iterative"] = "iterative"
    initial_sparsity: float = 0.0
    final_sparsity: float | None = None
    rounds: int = 5
    begin_step: int = 0
    end_step: int | None = None

    def __post_init__(self) -> None:
        """Refuse settings outside their domain."""
        _require_rise(self.initial_sparsity, self.final_sparsity)
        require_at_least("rounds", self.rounds, 1)
        _require_range(self.begin_step, self.end_step)
        if self.end_step is not None and 0 < self.end_step - self.begin_step < self.rounds:
            message = (
                "rounds must be at most the steps between begin_step and end_step "
                f"({self.end_step - self.begin_step}). Received: {self.rounds}"
            )
            raise PruningConfigError(message, field="rounds")

    @property
    def last_sparsity(self) -> float:
        """Sparsity that the training ends with."""
        return _require_known("final_sparsity", self.final_sparsity)

    def with_sparsity(self, sparsity: float) -> Self:
        """Return the schedule with ``final_sparsity`` filled in, if it was left open.

        Raises:
            PruningConfigError: ``initial_sparsity`` lies above ``sparsity``.
        """
        if self.final_sparsity is not None:
            return self
        return dataclasses.replace(self, final_sparsity=sparsity)

    def resolved(self, total_steps: int) -> Self:
        """Return the schedule with its end filled in; see ``PolynomialDecay.resolved``."""
        return _with_end(self, total_steps, open_end=_shared_end(self.begin_step, total_steps))

    def sparsity_at(self, step: int) -> float:
        """Sparsity that step ``step`` asks for; 0 before ``begin_step``."""
        round_ = self._round_at(step)
        if round_ is None:
            return 0.0
        if round_ == self.rounds:
            return self.last_sparsity
        initial_density = 1.0 - self.initial_sparsity
        final_density = 1.0 - self.last_sparsity
        return 1.0 - initial_density * (final_density / initial_density) ** (round_ / self.rounds)

    def last_update(self, step: int) -> int | None:
        """Step of the latest round up to ``step``; ``None`` before the first."""
        round_ = self._round_at(step)
        if round_ is None:
            return None
        span = _require_filled_in("end_step", self.end_step) - self.begin_step
        return self.begin_step + -(-round_ * span // self.rounds)

    def _round_at(self, step: int) -> int | None:
        if step < self.begin_step:
            return None
        span = _require_filled_in("end_step", self.end_step) - self.begin_step
        if span == 0:
            return self.rounds
        return min((step - self.begin_step) * self.rounds // span, self.rounds)


Schedule: TypeAlias = Constant | PolynomialDecay | OneShot | Iterative

_Ranged = TypeVar("_Ranged", Constant, PolynomialDecay, Iterative)
_Periodic = TypeVar("_Periodic", Constant, PolynomialDecay)


def sparsity_in_force(schedule: Schedule, step: int) -> float:
    """Return the sparsity that the latest update up to ``step`` asks for; 0 before the first.

    >>> schedule = PolynomialDecay(final_sparsity=0.8, end_step=100, power=1.0, frequency=50)
    >>> [sparsity_in_force(schedule, step) for step in (0, 49, 50, 99, 100)]
    [0.0, 0.0, 0.4, 0.4, 0.8]
    """
    last_update = schedule.last_update(step)
    return 0.0 if last_update is None else schedule.sparsity_at(last_update)


def step_of_last_sparsity(schedule: Schedule, total_steps: int) -> int:
    """Return the step after which the sparsity rises no more.

    ``total_steps`` if that is the last step or comes after it.
    """
    return bisect_left(
        range(total_steps),
        schedule.last_sparsity,
        key=lambda step: sparsity_in_force(schedule, step),
    )


def _require_range(begin_step: int, end_step: int | None) -> None:
    require_at_least("begin_step", begin_step, 0)
    if end_step is not None and end_step < begin_step:
        message = f"end_step must not lie before begin_step ({begin_step}). Received: {end_step}"
        raise PruningConfigError(message, field="end_step")


def _require_open_or_fraction(field: str, sparsity: float | None) -> None:
    if sparsity is not None:
        require_fraction(field, sparsity)


def _require_open_or_positive(field: str, steps: int | None) -> None:
    if steps is not None:
        require_at_least(field, steps, 1)


def _require_known(field: str, sparsity: float | None) -> float:
    if sparsity is None:
        message = f"{field} is open: ask with_sparsity(sparsity) first"
        raise PruningConfigError(message, field=field)
    return sparsity


def _require_rise(initial_sparsity: float, final_sparsity: float | None) -> None:
    require_fraction("initial_sparsity", initial_sparsity)
    _require_open_or_fraction("final_sparsity", final_sparsity)
    if final_sparsity is not None and final_sparsity < initial_sparsity:
        message = (
            f"final_sparsity must not be below initial_sparsity ({initial_sparsity}). "
            f"Received: {final_sparsity}"
        )
        raise PruningConfigError(message, field="final_sparsity")


def _require_within(field: str, step: int, total_steps: int) -> None:
    if step > total_steps:
        message = (
            f"{field} must be at most the training's number of steps ({total_steps}), or the "
            f"target is never reached. Received: {step}"
        )
        raise PruningConfigError(message, field=field)


def _require_filled_in(field: str, steps: int | None) -> int:
    if steps is None:
        message = f"{field} is open: ask resolved(total_steps) first"
        raise PruningConfigError(message, field=field)
    return steps


def _shared_end(begin_step: int, total_steps: int) -> int:
    return begin_step + round(PRUNING_SHARE * (total_steps - begin_step))


def _with_end(schedule: _Ranged, total_steps: int, *, open_end: int) -> _Ranged:
    _require_within("begin_step", schedule.begin_step, total_steps)
    if schedule.end_step is None:
        return dataclasses.replace(schedule, end_step=open_end)
    _require_within("end_step", schedule.end_step, total_steps)
    return schedule


def _with_frequency(schedule: _Periodic) -> _Periodic:
    if schedule.frequency is not None:
        return schedule
    span = _require_filled_in("end_step", schedule.end_step) - schedule.begin_step
    interval = min(max(span // LEAST_INTERVALS, 1), LONGEST_INTERVAL)
    return dataclasses.replace(schedule, frequency=interval)


def _last_periodic_update(schedule: Constant | PolynomialDecay, step: int) -> int | None:
    end_step = _require_filled_in("end_step", schedule.end_step)
    if step < schedule.begin_step:
        return None
    if step >= end_step:
        return end_step
    frequency = _require_filled_in("frequency", schedule.frequency)
    return step - (step - schedule.begin_step) % frequency
