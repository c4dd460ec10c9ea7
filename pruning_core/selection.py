"""Selection: which weights of a model a configuration prunes, and why not the others.

Names are those of ``catalogue``. A layer that occurs twice is listed once, by its first path. A
layer nobody has heard of is skipped with its reason; it may say for itself which of its own
weights can be pruned, by an attribute ``prunable_weights`` that holds their names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Self

import keras

from pruning_core.catalogue import ONE_CELL, is_known
from pruning_core.config import PruningConfig
from pruning_core.decision import Prune, Skip, Weight, decide
from pruning_core.errors import PruningConfigError, UnsupportedModelError
from pruning_core.network import makers_of_answers


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

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor."""
        return tuple(self.variable.shape)


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
    root = _Place((), (), model)
    inner = list(_walk(root, set()))
    _require_matches(config, inner)
    trainable = {id(variable) for variable in model.trainable_variables}
    answering = makers_of_answers(model)
    return tuple(
        Selected(
            layer=place.path,
            class_name=place.class_name,
            weight=variable.name,
            variable=variable,
            decision=decide(_facts(place, variable, trainable, answering), config),
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
    outer_types: tuple[str, ...]  #: Names of the classes of what it is inside of, but the model.
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
    def types(self) -> tuple[str, ...]:
        """The classes that a rule can mean it by: of what it is inside of, and its own."""
        if not self.names:
            return ()
        own = type(self.layer).__name__
        known = () if self.class_name == own else (self.class_name,)
        return (*self.outer_types, *known, own)

    @property
    def children(self) -> list[Self]:
        """The layers inside it that have names of their own."""
        if self.class_name in ONE_CELL:
            return []
        # Private, and without a public equal: `layers` is there for models only.
        nested = self.layer._flatten_layers(include_self=False, recursive=False)  # noqa: SLF001
        return [
            type(self)((*self.names, layer.name), self.types, layer)
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


def _facts(
    place: _Place,
    variable: keras.Variable,
    trainable: Collection[int],
    answering: Collection[int],
) -> Weight:
    return Weight(
        path=place.path,
        types=place.types,
        class_name=place.class_name,
        name=variable.name,
        rank=len(variable.shape),
        dtype=keras.backend.standardize_dtype(variable.dtype),
        is_trainable=id(variable) in trainable,
        is_declared=variable.name in getattr(place.layer, "prunable_weights", ()),
        equation=getattr(place.layer, "equation", None),
        is_answer=id(place.layer) in answering,
    )


def _require_matches(config: PruningConfig, places: Sequence[_Place]) -> None:
    for position, rule in enumerate(config.layers):
        if any(rule.covers(place.path, place.types) for place in places):
            continue
        types = sorted({name for place in places for name in place.types})
        if rule.type is not None and rule.type not in types:
            message = (
                "type must be the name of a class of layers in the model. "
                f"Received: {rule.type!r}; the closest names are {_closest(rule.type, types)}"
            )
            raise PruningConfigError(message, field=f"layers/{position}/type")
        of_type = [place.path for place in places if rule.type in {None, *place.types}]
        message = (
            "match must be the name of a layer, or a glob that covers one. "
            f"Received: {rule.match!r}; the closest names are {_closest(rule.match, of_type)}"
        )
        raise PruningConfigError(message, field=f"layers/{position}/match")


def _closest(name: str, names: Sequence[str]) -> str:
    return ", ".join(get_close_matches(name, names, cutoff=0.0))
