"""Files that Keras itself runs: the ``.keras`` of a model without what pruning has emptied."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import pruning_core
from worker.data import Array
from worker.formats.graph import Source, inputs_of, outputs_of
from worker.formats.opened import WeightCount


def write(source: Source, path: Path) -> tuple[str, ...]:
    """Write ``source`` as it is to be run, and return how much of it that is."""
    model = source.for_inference()
    pruning_core.save(model, path)
    left = model.count_params()
    if left == source.parameters:
        return ("None of its filters could be taken out: it is as large as the model was.",)
    return (
        f"Without the filters that are zero, {left:,} of {source.parameters:,} weights are left.",
    )


class RunByKeras:
    """A model that Keras has loaded.

    Args:
        model: It.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._predict: Any = tf.function(functools.partial(model, training=False))
        self.inputs = inputs_of(model)
        self.outputs = outputs_of(model)

    def answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs by name."""
        is_sequential = isinstance(self._model, keras.Sequential)
        structure = self._model.inputs[0] if is_sequential else self._model.input
        tensors = [tf.constant(inputs[port.name]) for port in self.inputs]
        outputs = self._predict(keras.tree.pack_sequence_as(structure, tensors))
        names = (port.name for port in self.outputs)
        return {
            name: np.asarray(tensor)
            for name, tensor in zip(names, keras.tree.flatten(outputs), strict=True)
        }


class KerasFile(RunByKeras):
    """A ``.keras`` file, opened as anybody would.

    Raises:
        ValueError: it is not well formed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(keras.saving.load_model(path, safe_mode=True))

    def weights(self) -> WeightCount:
        """Return what is counted in it."""
        return counted(keras.ops.convert_to_numpy(variable) for variable in self._model.weights)


def counted(weights: Iterable[Array]) -> WeightCount:
    """Return how many floats there are, and how many of them are not zero."""
    floats = [values for values in weights if values.dtype.kind == "f"]
    return WeightCount(
        sum(values.size for values in floats),
        sum(int(np.count_nonzero(values)) for values in floats),
    )
