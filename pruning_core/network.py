"""A model as a graph: its layers in the order in which data go through them."""

# What is inherited from Keras has no type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import keras


def graph_of(layer: Any) -> Any:
    """Return the graph of a Sequential or Functional model; ``None`` for any other layer.

    A model of one's own class may do anything with its layers, and so has none.
    """
    if type(layer) is keras.Sequential:
        return layer._functional  # noqa: SLF001 - there is no public way to its nodes
    is_graph = type(layer).__module__.startswith("keras.") and hasattr(layer, "_nodes_by_depth")
    return layer if is_graph else None


def nodes_of(graph: Any) -> Sequence[Any]:
    """Return the calls of layers, each after all those whose results it takes."""
    by_depth = sorted(graph._nodes_by_depth.items(), reverse=True)  # noqa: SLF001 - as above
    return [node for _, nodes in by_depth for node in nodes]


def called_once(nodes: Sequence[Any]) -> set[int]:
    """Return the ids of the layers that occur once."""
    calls = Counter(id(node.operation) for node in nodes)
    return {operation for operation, count in calls.items() if count == 1}


def makers_of_answers(model: Any) -> set[int]:
    """Return the ids of the layers that give the outputs of a model; none where it is no graph."""
    graph = graph_of(model)
    return set() if graph is None else {id(operation_of(tensor)) for tensor in graph.outputs}


def operation_of(tensor: Any) -> Any:
    """Return the layer that makes a tensor of a graph."""
    return tensor._keras_history.operation  # noqa: SLF001 - there is no public way
