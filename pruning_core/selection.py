"""Selection: which weights of a model a configuration prunes, and why not the others.

Names are those of ``catalogue``. A layer that occurs twice is listed once, by its first path. A
layer nobody has heard of is skipped with its reason; it may say for itself which of its own
weights can be pruned, by an attribute ``prunable_weights`` that holds their names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Self

import keras

from pruning_core.catalogue import ONE_CELL, is_known, reason_to_skip
from pruning_core.config import PruningConfig
from pruning_core.errors import PruningConfigError, UnsupportedModelError
from pruning_core.schedule import Schedule


@dataclass(frozen=True)
class Prune:
    """A weight is pruned, by this schedule."""

    schedule: Schedule


@dataclass(frozen=True)
class Skip:
    """A weight stays as it is, for this reason."""

    reason: str


@dataclass(frozen=True)
class Selected:
    """One weight tensor of a model, and what a configuration does with it."""

    layer: str  #: Path of the layer, for example ``encoder/dense``.
    class_name: str  #: Of the layer; of the built-in one that it derives from, if any.
    weight: str  #: Name in its layer, for example ``kernel``.
    variable: keras.Variable
    decision: Prune | Skip

    @property
    def name(self) -> str:
        """Layer and weight, for messages: ``encoder/dense/kernel``."""
        return f"{self.layer}/{self.weight}"


def select(model: keras.Model, config: PruningConfig) -> tuple[Selected, ...]:
    """Return every weight tensor of ``model``, each once, with what ``config`` does to it.

    Raises:
        UnsupportedModelError: the model is not built.
        PruningConfigError: a rule's ``match`` is the name of no layer.
    """
    if not model.built:
        message = (
            "the model must be built, so that it has weights: call it on a batch, or give it an "
            f"Input. Received: {model.name}"
        )
        raise UnsupportedModelError(message)
    root = _Place((), model)
    inner = list(_walk(root, set()))
    _require_matches(config, [place.path for place in inner])
    trainable = {id(variable) for variable in model.trainable_variables}
    return tuple(
        Selected(
            layer=place.path,
            class_name=place.class_name,
            weight=variable.name,
            variable=variable,
            decision=_decide(place, variable, trainable, config),
        )
        for place, variable in _weights([root, *inner])
    )


def select_pruned(model: keras.Model, config: PruningConfig) -> tuple[Selected, ...]:
    """Return the weight tensors of ``model`` that ``config`` prunes.

    Raises:
        UnsupportedModelError: there are none, or the model is not built.
        PruningConfigError: a rule's ``match`` is the name of no layer.
    """
    selection = select(model, config)
    pruned = tuple(entry for entry in selection if isinstance(entry.decision, Prune))
    if not pruned:
        skipped = "; ".join(
            f"{entry.name}: {entry.decision.reason}"
            for entry in selection[:_REASONS_SHOWN]
            if isinstance(entry.decision, Skip)
        )
        message = (
            "at least one weight of the model must be prunable by this configuration. "
            f"Received: {skipped or 'a model without weights'}"
        )
        raise UnsupportedModelError(message)
    return pruned


_REASONS_SHOWN = 5


@dataclass(frozen=True)
class _Place:
    """A layer, and what it goes by."""

    names: tuple[str, ...]  #: From the model's child down; empty for the model itself.
    layer: keras.Layer

    @property
    def path(self) -> str:
        """The names in one; the model's own name for the model itself."""
        return "/".join(self.names) or self.layer.name

    @property
    def class_name(self) -> str:
        """Name of its class, or of the built-in one that it derives from."""
        names = [ancestor.__name__ for ancestor in type(self.layer).__mro__]
        return next((name for name in names if is_known(name)), names[0])

    @property
    def children(self) -> list[Self]:
        """The layers inside it that have names of their own."""
        if self.class_name in ONE_CELL:
            return []
        # Private, and without a public equal: `layers` is there for models only.
        nested = self.layer._flatten_layers(include_self=False, recursive=False)  # noqa: SLF001
        return [
            type(self)((*self.names, layer.name), layer)
            for layer in nested
            if not isinstance(layer, keras.layers.InputLayer)
        ]

    @property
    def weights(self) -> list[keras.Variable]:
        """Its weights, without those of its children."""
        nested = {id(variable) for child in self.children for variable in child.layer.weights}
        return [variable for variable in self.layer.weights if id(variable) not in nested]


def _walk(place: _Place, visited: set[int]) -> Iterator[_Place]:
    for child in place.children:
        if id(child.layer) not in visited:
            visited.add(id(child.layer))
            yield child
            yield from _walk(child, visited)


def _weights(places: Iterable[_Place]) -> Iterator[tuple[_Place, keras.Variable]]:
    seen: set[int] = set()
    for place in places:
        for variable in place.weights:
            if id(variable) not in seen:
                seen.add(id(variable))
                yield place, variable


def _decide(
    place: _Place, variable: keras.Variable, trainable: Collection[int], config: PruningConfig
) -> Prune | Skip:
    if variable.name not in getattr(place.layer, "prunable_weights", ()):
        reason = reason_to_skip(place.class_name, variable.name)
        if reason is not None:
            return Skip(reason)
    if not keras.backend.is_float_dtype(variable.dtype):
        return Skip(f"{variable.dtype} weights are not pruned")
    if id(variable) not in trainable:
        return Skip("its layer is frozen (trainable is False)")
    rule = config.rule_for(place.path)
    if rule is None:
        return Prune(config.schedule)
    if rule.skip:
        return Skip(f"skipped: its name matches {rule.match!r}")
    return Prune(config.schedule if rule.schedule is None else rule.schedule)


def _require_matches(config: PruningConfig, paths: list[str]) -> None:
    for position, rule in enumerate(config.layers):
        if not any(rule.covers(path) for path in paths):
            closest = ", ".join(get_close_matches(rule.match, paths, cutoff=0.0))
            message = (
                "match must be the name of a layer, or a glob that covers one. "
                f"Received: {rule.match!r}; the closest names are {closest}"
            )
            raise PruningConfigError(message, field=f"layers/{position}/match")
