"""What a model answers to some samples, kept so that the downloaded file is held against it."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from pydantic import JsonValue

from worker.data import Array, InputForm, Samples
from worker.feeding import Feeder, as_fed
from worker.labels import labels_from

_MOST_SAMPLES = 256
_MOST_BYTES = 64 * 2**20
_BATCH = 32
#: Made-up samples are fewer: they say less.
_MADE_UP = 32
#: Size of an axis that the model leaves free.
_FREE_AXIS = 128


def reference_inputs(feeder: Feeder, held_out: Samples, model: keras.Model) -> list[Array]:
    """Return the first held-out samples as ``model`` takes them, one array for each input."""
    bytes_each = sum(
        array[:1].size * np.dtype(form.dtype).itemsize
        for array, form in zip(held_out.inputs, feeder.forms, strict=True)
    )
    chosen = held_out.between(0, _samples_in_memory(_MOST_SAMPLES, bytes_each, model))
    return keras.tree.flatten(feeder.accept(chosen.inputs))


def made_up_inputs(feeder: Feeder, model: keras.Model) -> list[Array]:
    """Return inputs for a job without data: the same for the same model, every time.

    Numbers in [0, 1); for a model with an ``Embedding`` or with integer inputs, whole numbers
    that each embedding has a row for.
    """
    generator = np.random.default_rng(0)
    rows = [
        layer.input_dim
        for layer in model._flatten_layers()  # noqa: SLF001  (`layers` leaves out nested ones)
        if isinstance(layer, keras.layers.Embedding)
    ]
    bytes_each = sum(_bytes_of(form.shape, form.dtype) for form in feeder.forms)
    count = _samples_in_memory(_MADE_UP, bytes_each, model)
    return [
        _made_up(form, generator, count=count, lowest_rows=min(rows, default=None))
        for form in feeder.forms
    ]


def _samples_in_memory(most: int, bytes_each: int, model: keras.Model) -> int:
    """Return how many samples there may be, given the bytes that the inputs of each have."""
    answers_each = sum(_bytes_of(tensor.shape[1:], tensor.dtype) for tensor in model.outputs)
    return max(1, min(most, _MOST_BYTES // max(bytes_each, answers_each, 1)))


def _bytes_of(shape: Sequence[int | None], dtype: str) -> int:
    """Return about how many bytes one sample has."""
    return math.prod(_filled_in(shape)) * np.dtype(dtype).itemsize


def _filled_in(shape: Sequence[int | None]) -> tuple[int, ...]:
    return tuple(_FREE_AXIS if size is None else size for size in shape)


def _made_up(
    form: InputForm, generator: np.random.Generator, *, count: int, lowest_rows: int | None
) -> Array:
    shape = (count, *_filled_in(form.shape))
    if lowest_rows is not None or "int" in form.dtype:
        return generator.integers(0, lowest_rows or 2, shape).astype(form.dtype)
    return generator.random(shape).astype(form.dtype)


def answers(model: keras.Model, feeder: Feeder, inputs: list[Array]) -> list[Array]:
    """Return the model's outputs, one array each."""
    packed: Any = as_fed(keras.tree.pack_sequence_as(feeder.structure, inputs))
    predicted = model.predict(packed, batch_size=_BATCH, verbose=0)
    return [np.asarray(array) for array in keras.tree.flatten(predicted)]


def labelled_by(
    model: keras.Model, feeder: Feeder, samples: Samples, loss: JsonValue, *, path: Path
) -> Samples:
    """Return the samples with what ``model`` answers now as their labels.

    They are kept in a file at ``path``, so that memory does not grow with them.
    """
    labels: Array | None = None
    start = 0
    for inputs, *_ in feeder.in_order(samples):
        answered = labels_from(np.asarray(model.predict_on_batch(inputs)), loss)
        if labels is None:
            shape = (len(samples), *answered.shape[1:])
            labels = np.lib.format.open_memmap(path, mode="w+", dtype=answered.dtype, shape=shape)
        labels[start : start + len(answered)] = answered
        start += len(answered)
    return Samples(samples.inputs, labels)


def write_reference(
    path: Path, inputs: list[Array], outputs: list[Array], *, labels: Array | None = None
) -> None:
    """Keep inputs and outputs as an ``.npz``.

    Args:
        path: Where to.
        inputs: As the model takes them.
        outputs: What the pruned model answers to them.
        labels: What the unpruned model answered to all held-out samples, where the dataset has
            no labels.
    """
    arrays = {f"input_{index}": array for index, array in enumerate(inputs)}
    arrays |= {f"output_{index}": array for index, array in enumerate(outputs)}
    if labels is not None:
        arrays["labels"] = labels
    np.savez(path, allow_pickle=False, **arrays)


def read_reference(path: Path) -> tuple[list[Array], list[Array]]:
    """Return the inputs and the outputs that were kept."""
    with np.load(path, allow_pickle=False) as arrays:
        names = list(arrays)
        inputs = [arrays[name] for name in names if name.startswith("input_")]
        outputs = [arrays[name] for name in names if name.startswith("output_")]
    return inputs, outputs


def read_labels(path: Path) -> Array:
    """Return the labels that were kept, see ``write_reference``."""
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["labels"]
