"""What both orders do with a Keras model: open it, look at its output, measure it."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
from pydantic import JsonValue

from app.jobs.result import Metrics
from worker.agreement import Agreement
from worker.errors import RefusedError
from worker.feeding import Batches
from worker.labels import Output
from worker.messages import Objective

#: Every way in which Keras names the share of samples that were classified rightly.
_ACCURACIES = frozenset(
    {"acc", "binary_accuracy", "categorical_accuracy", "sparse_categorical_accuracy"}
)


def load_model(path: Path) -> keras.Model:
    """Open a model file, without what only its training needs.

    Raises:
        RefusedError: Keras cannot open it.
    """
    try:
        # The optimizers and losses of Keras 2 are not all known to Keras 3, so nothing of a
        # file's training is restored here; see `worker.compiled`.
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever the file's content provokes.
        raise RefusedError(
            "model_not_loadable",
            f"Keras {keras.__version__} cannot open the model: {first_line(error)}",
            hint="Save it again with model.save('model.keras') from the Keras that it was made "
            "with, and check that keras.saving.load_model opens it.",
        ) from error


def first_line(error: BaseException) -> str:
    """Return what an error says, short enough for a sentence."""
    text = str(error).strip() or type(error).__name__
    return f"{text.splitlines()[0]:.300}"


def output_of(model: keras.Model) -> Output:
    """Return what is known of the model's output.

    Raises:
        RefusedError: it has several.
    """
    if len(model.outputs) != 1:
        raise RefusedError(
            "several_outputs",
            f"The model must have one output to be fine-tuned. Received: {len(model.outputs)}",
            hint="Save a model with the output that matters, or leave out the data to prune "
            "without fine-tuning.",
        )
    tensor = model.outputs[0]
    return Output(tuple(tensor.shape[1:]), _activation_of(tensor))


def _activation_of(tensor: Any) -> str:
    operation = tensor._keras_history.operation  # noqa: SLF001  (there is no public way)
    while isinstance(operation, keras.Model):
        operation = operation.outputs[0]._keras_history.operation  # noqa: SLF001
    operation = getattr(operation, "layer", operation)
    activation = getattr(operation, "activation", None)
    if activation is not None:
        return str(getattr(activation, "__name__", type(activation).__name__)).lower()
    name = type(operation).__name__.lower()
    return name if name in {"softmax", "sigmoid"} else "linear"


def loss_from(entry: JsonValue) -> Any:
    """Return the loss that Keras wrote as ``entry``."""
    return keras.losses.deserialize(entry) if isinstance(entry, dict) else entry


def metric_from(entry: JsonValue) -> Any:
    """Return the metric that Keras wrote as ``entry``, or one of ours."""
    match entry:
        case {"class_name": "Agreement", "config": {"threshold": float() | None as threshold}}:
            return Agreement(threshold)
        case dict():
            return keras.metrics.deserialize(entry)
        case _:
            return entry


def compile_to(
    objective: Objective, model: keras.Model, *, optimizer: keras.optimizers.Optimizer | None
) -> None:
    """Compile ``model`` for ``objective``; without an optimizer it can only be measured."""
    model.compile(
        optimizer=optimizer,
        loss=loss_from(objective.loss),
        metrics=[metric_from(entry) for entry in objective.metrics],
    )


def evaluate(model: keras.Model, batches: Batches) -> Metrics:
    """Return loss and metrics of a compiled model."""
    return {**renamed(model.evaluate(batches, return_dict=True, verbose=0))}


def renamed(figures: dict[str, Any]) -> dict[str, float]:
    """Return figures by the names that a job's result uses.

    >>> renamed({"loss": 0.5, "sparse_categorical_accuracy": 0.75, "val_acc": 0.5})
    {'loss': 0.5, 'accuracy': 0.75, 'val_accuracy': 0.5}
    """
    return {_renamed(name): float(value) for name, value in figures.items()}


def _renamed(name: str) -> str:
    if name.startswith("val_"):
        return f"val_{_renamed(name.removeprefix('val_'))}"
    return "accuracy" if name in _ACCURACIES else name
