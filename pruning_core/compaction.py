"""Taking out of a network what pruning has emptied: whole filters and units."""

# What is inherited from Keras has no type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from pruning_core.channels import Cut, Ledger, Signal, rule_for
from pruning_core.copying import plain_copy, without_entry
from pruning_core.errors import UnsupportedModelError
from pruning_core.network import called_once, graph_of, nodes_of


def compact(model: keras.Model) -> keras.Model:
    """Return the network without the channels that are always zero, and that so change nothing.

    Filters of a convolution and units of a dense layer go, with what reads them: the input
    channels of the next kernels, the entries of batch normalisation, the filters of depthwise
    convolutions. Those that a sum joins go where all its terms are zero. Each tensor keeps one
    channel at the least; inputs and outputs of the model stay as they are, the units of recurrent
    layers, and so does whatever stands around a layer that is not understood (attention, of your
    own), and layers that occur twice.

    A filter is zero where its kernel is and nothing is added behind it: so it is after pruning by
    ``Channel``, which takes bias and normalisation along.

    Args:
        model: Sequential or Functional, built. It is not touched.

    Returns:
        Plain Keras, not compiled, with variables of its own and layers of the same names. Its
        outputs are those of ``model`` but for rounding. Where nothing can go, a copy.

    Raises:
        UnsupportedModelError: it is neither Sequential nor Functional, or Keras cannot load it
            again.
    """
    copy = plain_copy(model)
    graph = graph_of(copy)
    if graph is None:
        message = (
            "the model must be Sequential or Functional, so that its layers are known to follow "
            f"each other. Received: {model.name} of class {type(model).__name__}"
        )
        raise UnsupportedModelError(message)
    survey = _Survey()
    survey.finish(survey.walk(graph))
    return _without(copy, survey.cuts())


@dataclass
class _Passage:
    """A layer, and what goes through it."""

    layer: keras.layers.Layer
    given: Sequence[Signal]
    made: Signal


@dataclass
class _Survey:
    """Where every channel of a network comes from and goes to."""

    ledger: Ledger = field(default_factory=Ledger)
    passages: list[_Passage] = field(default_factory=list["_Passage"])
    signals: list[Signal] = field(default_factory=list[Signal])

    def walk(self, graph: Any) -> list[Signal]:
        """Go through a graph; return what its outputs are."""
        nodes = nodes_of(graph)
        once = called_once(nodes)
        found: dict[int, Signal] = {}
        for node in nodes:
            given = [found[id(tensor)] for tensor in node.input_tensors]
            is_layer = not node.is_input and id(node.operation) in once
            made = self._followed(node.operation, given) if is_layer else None
            if made is None:
                self._hold(given)
                made = [self._unknown(tensor) for tensor in node.outputs]
            found |= {id(tensor): each for tensor, each in zip(node.outputs, made, strict=True)}
        self.signals += found.values()
        return [found[id(tensor)] for tensor in graph.outputs]

    def _followed(self, operation: Any, given: Sequence[Signal]) -> list[Signal] | None:
        if (graph := graph_of(operation)) is not None:
            self._hold(given)
            return self.walk(graph)
        rule = rule_for(operation)
        if rule is None:
            return None
        if not rule.joins:
            self._hold(given[1:])
            given = given[:1]
        made = rule.follow(operation, given, self.ledger)
        if made is None:
            return None
        self.passages.append(_Passage(operation, given, made))
        return [made]

    def _hold(self, signals: Iterable[Signal]) -> None:
        for signal in signals:
            self.ledger.hold(signal.labels)

    def _unknown(self, tensor: Any) -> Signal:
        size = tensor.shape[-1] if len(tensor.shape) > 1 and tensor.shape[-1] else 0
        labels = self.ledger.new(size)
        self.ledger.hold(labels)
        return Signal(labels, np.zeros(size, np.bool_))

    def finish(self, outputs: Sequence[Signal]) -> None:
        """Note that the outputs of the network stay, and of each tensor one channel."""
        self._hold(outputs)
        for signal in self.signals:
            if not self.ledger.kept(signal.labels).any():
                self.ledger.hold(signal.labels[:1])

    def cuts(self) -> dict[int, Cut]:
        """Return how the layers change that do, by their ids."""
        return {id(each.layer): cut for each in self.passages for cut in self._cut(each)}

    def _cut(self, passage: _Passage) -> Iterable[Cut]:
        if not isinstance(passage.layer, keras.layers.Layer):
            return  # An operator takes what comes.
        outputs = self.ledger.kept(passage.made.labels)
        inputs = [self.ledger.kept(each.labels) for each in passage.given]
        if not (outputs.all() and all(each.all() for each in inputs)):
            rule = rule_for(passage.layer)
            assert rule is not None, "it was followed by one"
            yield rule.cut(passage.layer, inputs[0], outputs)


def _without(model: keras.Model, cuts: dict[int, Cut]) -> keras.Model:
    made: list[tuple[keras.layers.Layer, Cut]] = []

    def narrower(layer: Any) -> Any:
        cut = cuts.get(id(layer))
        if cut is None:
            return layer
        # Layers inside it were built for as many channels as before.
        config = without_entry(layer.get_config(), "build_config")
        new = type(layer).from_config({**config, **cut.config})
        made.append((new, cut))
        return new

    compacted = keras.models.clone_model(model, clone_function=narrower, recursive=True)
    for layer, cut in made:
        layer.set_weights(list(cut.weights))
    return compacted
