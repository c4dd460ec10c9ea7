"""Selection: which weights of a model a configuration prunes, and why not the others.

Names are those of ``catalogue``. A layer that occurs twice is listed once, by its first path. A
layer nobody has heard of is skipped with its reason; it may say for itself which of its own
weights can be pruned, by an attribute ``prunable_weights`` that holds their names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

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
    layers = [(model.name, model), *_walk(model, path="", visited=set())]
    _require_matches(config, [path for path, _ in layers[1:]])
    return tuple(_selected(model, layers, config))


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

_FROZEN = "its layer is frozen (trainable is False)"


def _selected(
    model: keras.Model, layers: list[tuple[str, keras.Layer]], config: PruningConfig
) -> Iterator[Selected]:
    trainable = {id(variable) for variable in model.trainable_variables}
    seen: set[int] = set()
    for path, layer in layers:
        for variable in _own_weights(layer):
            if id(variable) in seen:
                continue
            seen.add(id(variable))
            class_name = _known_class_name(layer)
            yield Selected(
                layer=path,
                class_name=class_name,
                weight=variable.name,
                variable=variable,
                decision=_decide(layer, class_name, path, variable, trainable, config),
            )


def _decide(  # noqa: PLR0913, PLR0917 - everything that a decision depends on
    layer: keras.Layer,
    class_name: str,
    path: str,
    variable: keras.Variable,
    trainable: Collection[int],
    config: PruningConfig,
) -> Prune | Skip:
    if variable.name not in getattr(layer, "prunable_weights", ()):
        reason = reason_to_skip(class_name, variable.name)
        if reason is not None:
            return Skip(reason)
    if not keras.backend.is_float_dtype(variable.dtype):
        return Skip(f"{variable.dtype} weights are not pruned")
    if id(variable) not in trainable:
        return Skip(_FROZEN)
    rule = config.rule_for(path)
    if rule is None:
        return Prune(config.schedule)
    if rule.skip:
        return Skip(f"skipped: its name matches {rule.match!r}")
    return Prune(config.schedule if rule.schedule is None else rule.schedule)


def _walk(layer: keras.Layer, path: str, visited: set[int]) -> Iterator[tuple[str, keras.Layer]]:
    for child in _children(layer):
        if id(child) in visited:
            continue
        visited.add(id(child))
        child_path = f"{path}/{child.name}" if path else child.name
        yield child_path, child
        if _known_class_name(child) not in ONE_CELL:
            yield from _walk(child, child_path, visited)


def _children(layer: keras.Layer) -> list[keras.Layer]:
    # Private, and without a public equal: `layers` is there for models only.
    children = layer._flatten_layers(include_self=False, recursive=False)  # noqa: SLF001
    return [child for child in children if not isinstance(child, keras.layers.InputLayer)]


def _own_weights(layer: keras.Layer) -> list[keras.Variable]:
    if _known_class_name(layer) in ONE_CELL:
        return layer.weights
    nested = {id(variable) for child in _children(layer) for variable in child.weights}
    return [variable for variable in layer.weights if id(variable) not in nested]


def _known_class_name(layer: keras.Layer) -> str:
    names = [ancestor.__name__ for ancestor in type(layer).__mro__]
    return next((name for name in names if is_known(name)), names[0])


def _require_matches(config: PruningConfig, paths: list[str]) -> None:
    for position, rule in enumerate(config.layers):
        if not any(rule.covers(path) for path in paths):
            closest = ", ".join(get_close_matches(rule.match, paths, cutoff=0.0))
            message = (
                "match must be the name of a layer, or a glob that covers one. "
                f"Received: {rule.match!r}; the closest names are {closest}"
            )
            raise PruningConfigError(message, field=f"layers/{position}/match")
