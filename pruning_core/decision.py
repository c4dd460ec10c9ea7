"""What a configuration does with one weight tensor, and why; from names alone, no Keras.

A model in memory and a file that nobody has loaded are judged by the same rules.
"""

from __future__ import annotations

from dataclasses import dataclass

from pruning_core.catalogue import Layout, can_go_with_filters, layout, reason_to_skip
from pruning_core.config import Channel, Granularity, LayerRule, PruningConfig
from pruning_core.granularity import reason_against
from pruning_core.schedule import Schedule


@dataclass(frozen=True)
class Prune:
    """A weight is pruned."""

    schedule: Schedule
    granularity: Granularity
    layout: Layout


@dataclass(frozen=True)
class Skip:
    """A weight stays as it is, for this reason."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Weight:
    """What decides about a weight tensor."""

    path: str  #: Of its layer, see ``catalogue``.
    types: tuple[str, ...]  #: Names of the classes of the layers on the path, its own last.
    class_name: str  #: Of its layer; of the built-in one that it derives from, if any.
    name: str  #: In its layer, for example ``kernel``.
    rank: int
    dtype: str
    is_trainable: bool
    is_declared: bool = False  #: Its layer says itself that it can be pruned.
    equation: str | None = None  #: Of an ``EinsumDense``.
    is_answer: bool = False  #: What its layer puts out is an answer of the model.


def decide(weight: Weight, config: PruningConfig) -> Prune | Skip:
    """Return what ``config`` does with ``weight``."""
    rule = config.rule_for(weight.path, weight.types) or LayerRule()
    granularity = rule.granularity or config.granularity
    lies = layout(weight.class_name, weight.name, rank=weight.rank, equation=weight.equation)
    reason = _reason_to_skip(weight, rule) or reason_against(granularity, lies)
    if isinstance(granularity, Channel):
        reason = _reason_against_filters(weight, rule, reason)
    return Skip(reason) if reason else Prune(rule.schedule or config.schedule, granularity, lies)


def _reason_against_filters(weight: Weight, rule: LayerRule, reason: str | None) -> str | None:
    if weight.is_answer:
        usual = "its outputs are the model's: whole ones are not pruned by default"
        return reason or (usual if rule.skip is None else None)
    goes_along = weight.is_trainable and can_go_with_filters(weight.class_name, weight.name)
    return "not pruned by itself, only with its filter" if goes_along else reason


def _reason_to_skip(weight: Weight, rule: LayerRule) -> str | None:
    usual = reason_to_skip(weight.class_name, weight.name, with_depthwise=rule.skip is False)
    if usual is not None and not weight.is_declared:
        return usual
    if not weight.dtype.startswith(("float", "bfloat")):
        return f"{weight.dtype} weights are not pruned"
    if not weight.is_trainable:
        return "its layer is frozen (trainable is False)"
    return f"skipped: {_because_of(rule)}" if rule.skip else None


def _because_of(rule: LayerRule) -> str:
    by_class = f"its class matches {rule.type!r}"
    by_name = f"its name matches {rule.match!r}"
    if rule.type is None:
        return by_name
    return by_class if rule.match == "*" else f"{by_name}, {by_class}"
