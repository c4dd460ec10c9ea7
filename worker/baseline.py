"""What the uploaded model is measured by, and what it reaches before anything is pruned."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from app.jobs.job import Notice
from app.jobs.result import EvaluatedOn, Metrics
from app.jobs.spec import Training
from worker.compiled import Compiled
from worker.data import Array, Dataset
from worker.feeding import Feeder
from worker.labels import Output, require_labels_that_fit
from worker.messages import Objective
from worker.models import evaluate
from worker.objective import Choice, choose_comparison, choose_objective
from worker.reference import labelled_by


@dataclass(frozen=True)
class Baseline:
    """The model as it was uploaded, on samples that it is not trained on."""

    objective: Objective
    metrics: Metrics
    evaluated_on: EvaluatedOn


def choose(training: Training, compiled: Compiled, dataset: Dataset, *, output: Output) -> Choice:
    """Choose what the model is trained and measured by, and hold all labels against it.

    Raises:
        RefusedError: nothing says what the model is trained for, or labels do not fit.
    """
    if dataset.train.labels is None:
        return choose_comparison(training, compiled, output=output)
    choice = choose_objective(training, compiled, output=output, labels=dataset.train.labels)
    parts = {"y_train": dataset.train, "y_val": dataset.validation, "y_test": dataset.test}
    for array, samples in parts.items():
        if samples is not None and samples.labels is not None:
            loss = choice.objective.loss
            require_labels_that_fit(loss, samples.labels, output=output, array=array)
    return choice


def with_answers_for_labels(
    dataset: Dataset, model: keras.Model, feeder: Feeder, objective: Objective, *, folder: Path
) -> Dataset:
    """Return the dataset with what ``model`` answers now as the labels of every part.

    Args:
        dataset: Without labels.
        model: Before it is pruned.
        feeder: Of that model.
        objective: What the answers will be compared by.
        folder: Where they are kept.
    """
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    labelled = {
        name: labelled_by(model, feeder, samples, objective.loss, path=folder / f"{name}.npy")
        for name, samples in parts.items()
        if samples is not None
    }
    return dataclasses.replace(dataset, **labelled)


def measure(
    model: keras.Model, feeder: Feeder, dataset: Dataset, objective: Objective
) -> Baseline | None:
    """Measure a compiled model on what is held out; ``None`` where nothing is.

    Args:
        model: Compiled for ``objective``.
        feeder: Of that model.
        dataset: With labels, its own or made of answers.
        objective: What it is measured by.
    """
    held_out = dataset.held_out
    if held_out is None:
        return None
    return Baseline(
        objective,
        evaluate(model, feeder.in_order(held_out)),
        EvaluatedOn(split=dataset.held_out_split, samples=len(held_out)),
    )


def doubts(baseline: Baseline, dataset: Dataset, choice: Choice) -> Iterator[Notice]:
    """Yield what the caller should check, where the uploaded model knows no more than chance."""
    advice = (
        "Check that the inputs are scaled as the model was trained on (preprocessing.rescale), "
        "that the labels number the classes as the model does, and that the model is trained."
    )
    loss, accuracy = baseline.metrics["loss"], baseline.metrics.get("accuracy")
    if loss is None or not math.isfinite(loss):
        yield Notice(
            code="baseline_not_finite",
            message=f"Before any pruning the model's loss is not a finite number. {advice}",
        )
    labels = None if dataset.held_out is None else dataset.held_out.labels
    if accuracy is None or labels is None or not _are_classes(labels, choice):
        return
    chance = _share_of_commonest(labels)
    spread = math.sqrt(chance * (1 - chance) / len(labels))
    if accuracy <= chance + 2 * spread:
        yield Notice(
            code="baseline_at_chance",
            message=(
                f"Before any pruning the model is right in {accuracy:.1%} of the cases, and "
                f"always answering the commonest class would be in {chance:.1%}. {advice}"
            ),
        )


def _are_classes(labels: Array, choice: Choice) -> bool:
    return choice.classifies and labels.dtype.kind in "iub"


def _share_of_commonest(labels: Array) -> float:
    _, counts = np.unique(labels, return_counts=True)
    return float(counts.max() / counts.sum())
