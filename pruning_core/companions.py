"""What goes with a filter when it is pruned: its bias, and what normalisation makes of it.

A filter of zeros still has a bias, and the batch normalisation behind it adds one of its own: what
comes out is a constant, which the next layer reads, and which is another at the border of a
padded picture. So nothing could be taken out of the network. With these at zero, what comes out is
zero.
"""

# What is inherited from Keras has no type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from pruning_core.channels import (
    BY_CHANNEL,
    DEPTHWISE,
    KERNELS,
    ONE_BY_ONE_LAYERS,
    is_along_channels,
    leaves_zero,
    rule_for,
)
from pruning_core.config import Channel
from pruning_core.granularity import Kernel
from pruning_core.groups import Scheduled
from pruning_core.network import called_once, graph_of, nodes_of
from pruning_core.optimizer import Companions


def companions(model: keras.Model, scheduled: Iterable[Scheduled]) -> tuple[Companions, ...]:
    """Return what goes with the filters of the tensors that are pruned by them.

    That is the bias, and the entries of each normalisation, and the biases of depthwise
    convolutions, that are reached through what lets each channel pass on its own and leaves zero
    what is zero. Where the layers of a model are no graph, nothing does.

    Args:
        model: Built; its trainable variables are those that the optimizer is built with.
        scheduled: Its pruned tensors.
    """
    by_filters = list(_by_filters(scheduled))
    found = _companions_of(model) if by_filters else {}
    positions = {id(variable): at for at, variable in enumerate(model.trainable_variables)}
    return tuple(
        Companions(
            kernel=position,
            inputs=kernel.layout.inputs,
            vectors=[
                (positions[id(each.variable)], each.times)
                for each in found.get(id(variable), ())
                if id(each.variable) in positions
            ],
        )
        for position, variable, kernel in by_filters
    )


def centre_on_zero(model: keras.Model, scheduled: Iterable[Scheduled]) -> None:
    """Set the means that were measured of channels to zero where their filters are.

    They are on their way there: what comes out of such a filter is zero in every batch.
    """
    by_filters = list(_by_filters(scheduled))
    found = _companions_of(model) if by_filters else {}
    trained = {id(variable) for variable in model.trainable_variables}
    for _, variable, kernel in by_filters:
        kept = keras.ops.convert_to_numpy(variable).any(axis=kernel.layout.inputs)
        for each in found.get(id(variable), ()):
            if id(each.variable) not in trained:
                values = keras.ops.convert_to_numpy(each.variable)
                each.variable.assign(np.where(np.repeat(kept, each.times), values, 0))


def _by_filters(
    scheduled: Iterable[Scheduled],
) -> Iterator[tuple[int, keras.Variable, Kernel]]:
    """Yield position, variable and units of what is pruned by whole filters."""
    for group in scheduled:
        for entry in zip(group.positions, group.variables, group.kernels, strict=True):
            if isinstance(entry[2].granularity, Channel):
                yield entry


@dataclass(frozen=True)
class _Companion:
    """A vector that has ``times`` entries for each filter of a kernel, those of one in a row."""

    variable: keras.Variable
    times: int


def _companions_of(model: keras.Model) -> dict[int, tuple[_Companion, ...]]:
    """Return them by the id of the kernel's variable; means that were measured are among them."""
    graph = graph_of(model)
    return {} if graph is None else dict(_found(graph, outputs={id(t) for t in graph.outputs}))


def _found(graph: Any, outputs: set[int]) -> Iterator[tuple[int, tuple[_Companion, ...]]]:
    """Yield them; a kernel whose layer makes an answer of the model keeps its bias."""
    nodes = nodes_of(graph)
    paths = _Paths.of(nodes)
    for node in nodes:
        layer = node.operation
        if (inner := graph_of(layer)) is not None:
            yield from _found(inner, outputs=set())
        elif paths.begin_at(layer) and id(node.outputs[0]) not in outputs:
            own = [_Companion(vector, 1) for vector in _vectors(layer)]
            behind = paths.behind(node.outputs[0], times=1)
            yield id(getattr(layer, KERNELS[type(layer)])), (*own, *behind)


@dataclass(frozen=True)
class _Paths:
    """Which layers read which tensors."""

    readers: Mapping[int, Sequence[Any]]
    once: set[int]

    @classmethod
    def of(cls, nodes: Sequence[Any]) -> _Paths:
        readers: defaultdict[int, list[Any]] = defaultdict(list)
        for node in nodes:
            for tensor in node.input_tensors:
                readers[id(tensor)].append(node)
        return cls(readers, called_once(nodes))

    def begin_at(self, layer: Any) -> bool:
        """Whether a layer has filters, and a filter of zeros without a bias makes zeros."""
        is_known = type(layer) in KERNELS and rule_for(layer) is not None
        return is_known and id(layer) in self.once and leaves_zero(layer)

    def behind(self, tensor: Any, *, times: int) -> Iterator[_Companion]:
        """Yield what is met on the ways from a tensor, as far as its channels stay apart."""
        for node in self.readers.get(id(tensor), ()):
            layer = node.operation
            passes = id(layer) in self.once and rule_for(layer) is not None and _passes(layer)
            if passes:
                outputs = times * getattr(layer, "depth_multiplier", 1)
                yield from (_Companion(vector, outputs) for vector in _vectors(layer))
                yield from self.behind(node.outputs[0], times=outputs)


def _passes(layer: Any) -> bool:
    """Whether each channel goes through a layer on its own, and a zero stays one."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return is_along_channels(layer)
    return type(layer) in {*BY_CHANNEL, *DEPTHWISE, *ONE_BY_ONE_LAYERS} and leaves_zero(layer)


def _vectors(layer: Any) -> Iterator[keras.Variable]:
    """Yield what makes something else of a zero, as far as it may change."""
    if not layer.trainable:
        return
    for name in ("bias", "gamma", "beta", "moving_mean"):
        vector = getattr(layer, name, None)
        if vector is not None:
            yield vector
