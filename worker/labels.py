"""What labels can be, held against the output that they are compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from worker.compiled import BINARY, CATEGORICAL, SPARSE, SQUARED, name_of, takes_logits
from worker.data import Array
from worker.errors import RefusedError

_PROBABILITIES = frozenset({"softmax", "sigmoid", "hard_sigmoid"})
_COMPARED_ONE_TO_ONE = frozenset({BINARY, CATEGORICAL, SQUARED})


@dataclass(frozen=True)
class Output:
    """The model's only output."""

    shape: tuple[int | None, ...]  #: Of one sample.
    activation: str  #: Of the last layer; ``linear`` when it has none.

    @property
    def units(self) -> int | None:
        """Size of the last axis; 1 for a scalar."""
        return self.shape[-1] if self.shape else 1

    @property
    def is_probability(self) -> bool:
        """Whether the values are probabilities, rather than logits or quantities."""
        return self.activation in _PROBABILITIES


def are_class_numbers(output: Output, labels: Array) -> bool:
    """Whether there is one whole number for each prediction."""
    predictions = len(output.shape) - 1
    rank = labels.ndim - 1
    flat = rank == predictions or (rank == predictions + 1 and labels.shape[-1] == 1)
    return flat and _are_whole(labels)


def _are_whole(labels: Array) -> bool:
    return labels.dtype.kind in "iub" or bool(np.all(labels == np.floor(labels)))


def are_binary(labels: Array) -> bool:
    """Whether all are 0 or 1."""
    return bool(np.all((labels == 0) | (labels == 1)))


def are_distributions(labels: Array) -> bool:
    """Whether the last axis holds shares that add up to 1, as one-hot labels do."""
    if labels.ndim < 2 or labels.shape[-1] < 2 or labels.min() < 0:  # noqa: PLR2004
        return False
    return bool(np.allclose(labels.sum(axis=-1), 1.0, atol=1e-3))


def labels_from(answers: Array, loss: JsonValue) -> Array:
    """Return a model's answers as labels that ``loss`` compares answers with: no logits.

    >>> labels_from(np.array([[0.0, 0.0]]), {"class_name": "CategoricalCrossentropy",
    ...                                      "config": {"from_logits": True}})
    array([[0.5, 0.5]])
    """
    if not takes_logits(loss):
        return answers
    if name_of(loss) == BINARY:
        return 1.0 / (1.0 + np.exp(-answers))
    shares = np.exp(answers - answers.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def require_labels_that_fit(loss: JsonValue, labels: Array, *, output: Output, array: str) -> None:
    """Refuse labels that the loss cannot take.

    Args:
        loss: As chosen.
        labels: Of one part of the dataset.
        output: What the labels are compared with.
        array: Name of that part, for the message.

    Raises:
        RefusedError: a label is no class of the model, or the shapes differ.
    """
    name = name_of(loss)
    if name == SPARSE:
        _require_class_numbers(labels, output, array)
    elif name in _COMPARED_ONE_TO_ONE:
        _require_shape(labels, output, array)
    if name in {BINARY, CATEGORICAL}:
        _require_probabilities(labels, name, array)


def _require_class_numbers(labels: Array, output: Output, array: str) -> None:
    if not are_class_numbers(output, labels):
        raise RefusedError(
            "label_shape",
            f"{array} must hold one class number for each prediction. "
            f"Received: shape {labels.shape}, dtype {labels.dtype}",
            hint="Store class numbers, or set training.loss to categorical_crossentropy for "
            "one-hot labels.",
        )
    classes = output.units
    lowest, highest = labels.min(), labels.max()
    if lowest < 0 or (classes is not None and highest >= classes):
        raise RefusedError(
            "label_out_of_range",
            f"The labels in {array} must be class numbers from 0 to {(classes or 0) - 1}. "
            f"Received: {lowest} to {highest}",
            hint="Number the classes from 0, or give the model an output for each class.",
        )


def _require_shape(labels: Array, output: Output, array: str) -> None:
    wanted = output.shape
    received = labels.shape[1:]
    if output.units == 1 and len(received) == len(wanted) - 1:
        wanted = wanted[:-1]
    fits = len(received) == len(wanted) and all(
        size in {None, given} for size, given in zip(wanted, received, strict=True)
    )
    if not fits:
        raise RefusedError(
            "label_shape",
            f"{array} must have the shape of the model's output, {output.shape}, for each sample. "
            f"Received: {received}",
            hint="Change the labels, or set training.loss to one that takes them as they are.",
        )


def _require_probabilities(labels: Array, loss: str, array: str) -> None:
    lowest, highest = labels.min(), labels.max()
    if lowest < 0 or highest > 1:
        raise RefusedError(
            "label_out_of_range",
            f"The labels in {array} must lie from 0 to 1 for {loss}. Received: {lowest} to "
            f"{highest}",
            hint="Number two classes 0 and 1, or set training.loss to another loss.",
        )
