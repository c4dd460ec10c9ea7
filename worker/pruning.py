"""The order ``prune``: validate, measure the baseline, fine-tune while pruning, export."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

import pruning_core
from app.jobs.errors import RefusedFileError
from app.jobs.intake.model import summarise_model
from app.jobs.job import Notice, Stage
from app.jobs.result import EvaluatedOn, Metrics
from app.jobs.spec import Adam, Sgd, Training
from pruning_core.errors import NonFiniteWeightsError, PruningConfigError, UnsupportedModelError
from pruning_core.mask import count_pruned
from pruning_core.selection import Prune, Selected, Skip, select
from pruning_core.training import Pruning
from worker.compiled import read_compiled
from worker.data import Array, Dataset, Samples, read_dataset
from worker.errors import RefusedError
from worker.feeding import Feeder, input_names
from worker.labels import require_labels_that_fit
from worker.messages import (
    Noticed,
    Objective,
    Pruned,
    PrunedTensor,
    PruneOrder,
    StageBegun,
    Update,
)
from worker.models import compile_to, evaluate, first_line, load_model, output_of
from worker.objective import Choice, choose_objective
from worker.progress import ProgressReports
from worker.reference import answers, made_up_inputs, reference_inputs, write_reference


@dataclass(frozen=True)
class _Measured:
    """The model as it was uploaded, on samples that it is not trained on."""

    objective: Objective
    baseline: Metrics
    evaluated_on: EvaluatedOn


def prune(order: PruneOrder, report: Callable[[Update], None]) -> Pruned:
    """Carry out the order.

    Args:
        order: What to prune, and how.
        report: Told what the job's followers should see, as it happens.

    Raises:
        RefusedError: it cannot be carried out.
    """
    report(StageBegun(stage=Stage.VALIDATING))
    _check_again(order)
    keras.utils.set_random_seed(order.spec.training.seed)
    model = load_model(order.model)
    feeder = Feeder.of(model, order.spec.preprocessing, batch_size=order.spec.training.batch_size)
    with _refusals():
        if order.dataset is None:
            return _prune_at_once(order, model, feeder, report)
        return _fine_tune(order, model, feeder, report)


def _check_again(order: PruneOrder) -> None:
    try:
        summarise_model(order.model)
    except RefusedFileError as error:
        raise RefusedError(error.code, error.message, hint=error.hint) from error


def _prune_at_once(
    order: PruneOrder, model: keras.Model, feeder: Feeder, report: Callable[[Update], None]
) -> Pruned:
    pruning = Pruning(model, order.spec.pruning_config(), total_steps=0, copy=False)
    pruning.finish()
    report(StageBegun(stage=Stage.EXPORTING))
    return _export(order, pruning, feeder, inputs=made_up_inputs(feeder, model), measured=None)


def _fine_tune(
    order: PruneOrder, model: keras.Model, feeder: Feeder, report: Callable[[Update], None]
) -> Pruned:
    assert order.dataset is not None, "without data there is nothing to tune on"
    training = order.spec.training
    dataset = read_dataset(
        order.dataset,
        inputs=input_names(model),
        validation_split=training.validation_split or 0.0,
    )
    choice = _choose(order, model, dataset)
    for notice in choice.notices:
        report(Noticed(notice=notice))
    compile_to(choice.objective, model, optimizer=_optimizer(training))

    report(StageBegun(stage=Stage.BASELINE))
    measured = _measure(model, feeder, dataset, choice, report)

    report(StageBegun(stage=Stage.FINE_TUNING))
    pruning = Pruning(model, order.spec.pruning_config(), order.total_steps, copy=False)
    _fit(pruning, feeder, dataset, training, report)

    report(StageBegun(stage=Stage.EXPORTING))
    known = dataset.train if dataset.held_out is None else dataset.held_out
    inputs = reference_inputs(feeder, known)
    return _export(order, pruning, feeder, inputs=inputs, measured=measured)


def _choose(order: PruneOrder, model: keras.Model, dataset: Dataset) -> Choice:
    output = output_of(model)
    choice = choose_objective(
        order.spec.training,
        read_compiled(order.model),
        output=output,
        labels=dataset.train.labels,
    )
    parts = {"y_train": dataset.train, "y_val": dataset.validation, "y_test": dataset.test}
    for array, samples in parts.items():
        if samples is not None:
            loss = choice.objective.loss
            require_labels_that_fit(loss, samples.labels, output=output, array=array)
    return choice


def _optimizer(training: Training) -> keras.optimizers.Optimizer:
    match training.optimizer:
        case Adam(learning_rate=learning_rate, weight_decay=None):
            return keras.optimizers.Adam(learning_rate)
        case Adam(learning_rate=learning_rate, weight_decay=weight_decay):
            return keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay)
        case Sgd(learning_rate=learning_rate, momentum=momentum, nesterov=nesterov):
            return keras.optimizers.SGD(learning_rate, momentum=momentum, nesterov=nesterov)


def _measure(
    model: keras.Model,
    feeder: Feeder,
    dataset: Dataset,
    choice: Choice,
    report: Callable[[Update], None],
) -> _Measured | None:
    held_out = dataset.held_out
    if held_out is None:
        return None
    baseline = evaluate(model, feeder.in_order(held_out))
    for notice in _doubts(baseline, held_out, choice):
        report(Noticed(notice=notice))
    evaluated_on = EvaluatedOn(split=dataset.held_out_split, samples=len(held_out))
    return _Measured(choice.objective, baseline, evaluated_on)


def _doubts(baseline: Metrics, held_out: Samples, choice: Choice) -> Iterator[Notice]:
    advice = (
        "Check that the inputs are scaled as the model was trained on (preprocessing.rescale), "
        "that the labels number the classes as the model does, and that the model is trained."
    )
    loss, accuracy = baseline["loss"], baseline.get("accuracy")
    if loss is None or not math.isfinite(loss):
        yield Notice(
            code="baseline_not_finite",
            message=f"Before any pruning the model's loss is not a finite number. {advice}",
        )
    if accuracy is None or not choice.classifies or held_out.labels.dtype.kind not in "iub":
        return
    chance = _share_of_commonest(held_out.labels)
    spread = math.sqrt(chance * (1 - chance) / len(held_out))
    if accuracy <= chance + 2 * spread:
        yield Notice(
            code="baseline_at_chance",
            message=(
                f"Before any pruning the model is right in {accuracy:.1%} of the cases, and "
                f"always answering the commonest class would be in {chance:.1%}. {advice}"
            ),
        )


def _share_of_commonest(labels: Array) -> float:
    _, counts = np.unique(labels, return_counts=True)
    return float(counts.max() / counts.sum())


def _fit(
    pruning: Pruning,
    feeder: Feeder,
    dataset: Dataset,
    training: Training,
    report: Callable[[Update], None],
) -> None:
    batches = feeder.shuffled(dataset.train, seed=training.seed, epochs=training.epochs)
    validation = dataset.validation
    reports = ProgressReports(
        report,
        total_steps=pruning.total_steps,
        epochs=training.epochs,
        sparsity_at=pruning.sparsity_at,
    )
    # Otherwise its variables are created in the first trace of the step, which is then thrown away.
    pruning.model.optimizer.build(pruning.model.trainable_variables)
    assert len(batches) == pruning.total_steps, "the training must be as long as it was planned"
    pruning.model.fit(
        batches,
        epochs=training.epochs,
        steps_per_epoch=len(batches) // training.epochs,
        shuffle=False,  # The batches are: by the seed, and not by Keras.
        validation_data=None if validation is None else feeder.in_order(validation),
        callbacks=[reports, pruning.callback],
        verbose=0,
    )
    assert reports.steps == pruning.total_steps, "every planned step must be made"
    pruning.finish()


def _export(
    order: PruneOrder,
    pruning: Pruning,
    feeder: Feeder,
    *,
    inputs: list[Array],
    measured: _Measured | None,
) -> Pruned:
    stripped = pruning.strip()
    pruning_core.save(stripped, order.artifact)
    write_reference(order.reference, inputs, answers(stripped, feeder, inputs))
    return Pruned(
        tensors=_tensors(stripped, pruning),
        objective=measured and measured.objective,
        baseline=measured and measured.baseline,
        evaluated_on=measured and measured.evaluated_on,
    )


def _tensors(stripped: keras.Model, pruning: Pruning) -> tuple[PrunedTensor, ...]:
    selected = {id(entry.variable): entry for entry in select(stripped, pruning.config)}
    return tuple(_tensor(selected[id(variable)]) for variable in stripped.weights)


def _tensor(entry: Selected) -> PrunedTensor:
    values = keras.ops.convert_to_numpy(entry.variable)
    match entry.decision:
        case Prune(schedule=schedule):
            planned, reason = count_pruned(values.size, schedule.last_sparsity), None
        case Skip(reason=reason):
            planned = None
    return PrunedTensor(
        layer=entry.layer,
        weight=entry.weight,
        shape=values.shape,
        zeros=values.size - int(np.count_nonzero(values)),
        planned_zeros=planned,
        reason=reason,
    )


@contextmanager
def _refusals() -> Generator[None]:
    """Turn what Keras, TensorFlow and the library say about a model into refusals."""
    try:
        yield
    except NonFiniteWeightsError as error:
        raise RefusedError(
            "training_diverged",
            f"The training diverged: {error}.",
            hint="Lower training.optimizer.learning_rate.",
        ) from error
    except UnsupportedModelError as error:
        raise RefusedError(
            "nothing_to_prune",
            f"This spec prunes nothing in this model: {error}.",
            hint="Change the rules in layers, or set trainable=True before saving the model.",
        ) from error
    except PruningConfigError as error:
        raise RefusedError(
            "spec_not_feasible",
            f"The spec cannot be carried out on this model and data: {error}.",
            hint=f"Change {error.field}.",
        ) from error
    except tf.errors.ResourceExhaustedError as error:
        raise RefusedError(
            "out_of_memory",
            "The training does not fit into the worker's memory.",
            hint="Lower training.batch_size.",
        ) from error
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        raise RefusedError(
            "training_failed",
            f"Keras cannot train the model on this data: {first_line(error)}",
            hint="Check that model.fit takes the same arrays.",
        ) from error
