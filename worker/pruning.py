"""The order ``prune``: validate, measure the baseline, fine-tune while pruning, export."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from threading import Event

import keras
import tensorflow as tf

import pruning_core
from app.jobs.errors import RefusedFileError
from app.jobs.intake.model import summarise_model
from app.jobs.job import LayerProgress, Stage
from app.jobs.spec import Adam, Sgd, Training
from app.jobs.uploads import ModelSummary
from pruning_core.allocation import forecast
from pruning_core.config import PruningConfig
from pruning_core.decision import Skip
from pruning_core.errors import NonFiniteWeightsError, PruningConfigError, UnsupportedModelError
from pruning_core.groups import by_schedule
from pruning_core.reporting import count_zeros
from pruning_core.selection import select, select_pruned
from pruning_core.training import Pruning
from worker.baseline import Baseline, choose, doubts, measure, with_answers_for_labels
from worker.checkpoints import Checkpoints, Position, legs, read_checkpoint
from worker.compiled import read_compiled
from worker.data import Array, Dataset, read_dataset
from worker.decoding import decode
from worker.errors import RefusedError
from worker.feeding import Feeder, input_names
from worker.messages import (
    Noticed,
    Objective,
    PlannedUnits,
    Pruned,
    PrunedTensor,
    PruneOrder,
    StageBegun,
    Update,
)
from worker.models import compile_to, first_line, load_model, output_of
from worker.progress import ProgressReports
from worker.reference import answers, made_up_inputs, reference_inputs, write_reference
from worker.replicas import devices_here, left_idle, normalise_whole_batches, replicated, usable


def prune(
    order: PruneOrder, report: Callable[[Update], None], *, asked: Event | None = None
) -> Pruned:
    """Carry out the order.

    Args:
        order: What to prune, and how.
        report: Told what the job's followers should see, as it happens.
        asked: Set by another thread when the training should be written down now; ``None`` where
            nobody asks.

    Raises:
        RefusedError: it cannot be carried out.
    """
    report(StageBegun(stage=Stage.VALIDATING))
    summary = _check_again(order)
    if order.upload is not None and order.dataset is not None:
        # Before the model is opened, which then has no part in it.
        decode(
            order.upload,
            order.dataset,
            spec=order.spec,
            model=summary,
            alive=lambda: report(StageBegun(stage=Stage.VALIDATING)),
        )
    keras.utils.set_random_seed(order.spec.training.seed)
    model = load_model(order.model)
    feeder = Feeder.of(model, order.spec.preprocessing, batch_size=order.spec.training.batch_size)
    with _refusals():
        if order.dataset is None:
            return _prune_at_once(order, model, feeder, report)
        return _fine_tune(order, model, feeder, report, asked or Event())


def _check_again(order: PruneOrder) -> ModelSummary:
    try:
        return summarise_model(order.model)
    except RefusedFileError as error:
        raise RefusedError(error.code, error.message, hint=error.hint) from error


def _prune_at_once(
    order: PruneOrder, model: keras.Model, feeder: Feeder, report: Callable[[Update], None]
) -> Pruned:
    Pruning(model, order.spec.pruning_config(), total_steps=0, copy=False).finish()
    _forget_training(model)
    report(StageBegun(stage=Stage.EXPORTING))
    _export(order, model, feeder, inputs=made_up_inputs(feeder, model))
    return _outcome(order, model, baseline=None)


def _fine_tune(
    order: PruneOrder,
    model: keras.Model,
    feeder: Feeder,
    report: Callable[[Update], None],
    asked: Event,
) -> Pruned:
    assert order.dataset is not None, "without data there is nothing to tune on"
    training = order.spec.training
    dataset = read_dataset(
        order.dataset,
        inputs=input_names(model),
        validation_split=training.validation_split or 0.0,
    )
    choice = choose(training, read_compiled(order.model), dataset, output=output_of(model))
    for notice in choice.notices:
        report(Noticed(notice=notice))

    report(StageBegun(stage=Stage.BASELINE))
    has_labels = dataset.train.labels is not None
    if not has_labels:
        dataset = with_answers_for_labels(
            dataset, model, feeder, choice.objective, folder=order.folder
        )
    compile_to(choice.objective, model, optimizer=_optimizer(training))
    baseline = measure(model, feeder, dataset, choice.objective)
    if baseline is not None:
        for notice in doubts(baseline, dataset, choice):
            report(Noticed(notice=notice))

    report(StageBegun(stage=Stage.FINE_TUNING))
    devices = devices_here()
    parts = [part for part in (dataset.train, dataset.validation) if part is not None]
    used = usable(devices, training, parts)
    for notice in left_idle(devices, used):
        report(Noticed(notice=notice))
    if len(used) == 1:
        _train(model, feeder, dataset, order, report, asked)
    else:
        with replicated(used):
            twin = _loaded_to_be_replicated(order, choice.objective)
            _train(twin, feeder, dataset, order, report, asked)
        model.set_weights(twin.get_weights())
        _forget_training(twin)
    _forget_training(model)

    report(StageBegun(stage=Stage.EXPORTING))
    known = dataset.train if dataset.held_out is None else dataset.held_out
    inputs = reference_inputs(feeder, known, model)
    labels = None if has_labels else known.labels
    _export(order, model, feeder, inputs=inputs, labels=labels)
    return _outcome(order, model, baseline)


def _loaded_to_be_replicated(order: PruneOrder, objective: Objective) -> keras.Model:
    # Layers draw their seeds when they are made.
    keras.utils.set_random_seed(order.spec.training.seed)
    model = load_model(order.model)
    normalise_whole_batches(model)
    compile_to(objective, model, optimizer=_optimizer(order.spec.training))
    return model


def _optimizer(training: Training) -> keras.optimizers.Optimizer:
    match training.optimizer:
        case Adam(learning_rate=learning_rate, weight_decay=None):
            return keras.optimizers.Adam(learning_rate)
        case Adam(learning_rate=learning_rate, weight_decay=weight_decay):
            return keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay)
        case Sgd(learning_rate=learning_rate, momentum=momentum, nesterov=nesterov):
            return keras.optimizers.SGD(learning_rate, momentum=momentum, nesterov=nesterov)


def _train(  # noqa: PLR0913, PLR0917  (as of ``_fit``)
    model: keras.Model,
    feeder: Feeder,
    dataset: Dataset,
    order: PruneOrder,
    report: Callable[[Update], None],
    asked: Event,
) -> None:
    training = order.spec.training
    pruning = Pruning(
        model,
        order.spec.pruning_config(),
        order.total_steps,
        distillation=training.distillation,
        cool_down=bool(training.cool_down),
        copy=False,
    )
    _fit(pruning, feeder, dataset, order, report, asked)
    if training.recalibrate:
        pruning.recalibrate(inputs for inputs, *_ in feeder.in_order(dataset.train))


def _forget_training(model: keras.Model) -> None:
    """Let go of the optimizer: of a large model, its state takes most of the memory."""
    # TensorFlow keeps what an attribute was once set to until the attribute is deleted.
    del model.optimizer
    model.compile(optimizer=None)
    gc.collect()  # models, optimizers and functions lead in circles


def _fit(  # noqa: PLR0913, PLR0917  (what takes part in it, each once)
    pruning: Pruning,
    feeder: Feeder,
    dataset: Dataset,
    order: PruneOrder,
    report: Callable[[Update], None],
    asked: Event,
) -> None:
    training = order.spec.training
    batches = feeder.shuffled(dataset.train, seed=training.seed, epochs=training.epochs)
    assert len(batches) == pruning.total_steps, "the training must be as long as it was planned"
    steps_per_epoch = len(batches) // training.epochs
    # Otherwise its variables are created in the first trace of the step, which is then thrown away.
    pruning.model.optimizer.build(pruning.model.trainable_variables)
    position = Position()
    if order.checkpoint is not None:
        position = read_checkpoint(pruning.model, order.checkpoint, batches[0])
    validation = dataset.validation
    reports = ProgressReports(
        report,
        total_steps=pruning.total_steps,
        epochs=training.epochs,
        sparsity_at=pruning.sparsity_at,
        count_layers=_layer_counts(pruning),
        start=position.step,
    )
    checkpoints = Checkpoints(
        order.folder,
        reports,
        report,
        total_steps=pruning.total_steps,
        steps_per_epoch=steps_per_epoch,
        metrics=position.metrics,
        seconds_between=order.seconds_between_checkpoints,
        asked=asked,
    )
    for leg in legs(position.step, steps_per_epoch=steps_per_epoch, epochs=training.epochs):
        pruning.model.fit(
            feeder.shuffled(
                dataset.train, seed=training.seed, epochs=leg.end_epoch, start=leg.start
            ),
            initial_epoch=leg.epoch,
            epochs=leg.end_epoch,
            steps_per_epoch=leg.steps_per_epoch,
            shuffle=False,  # The batches are: by the seed, and not by Keras.
            validation_data=None if validation is None else feeder.in_order(validation),
            callbacks=[pruning.callback, reports, checkpoints],
            verbose=0,
        )
    assert reports.steps == pruning.total_steps, "every planned step must be made"
    pruning.finish()


def _layer_counts(pruning: Pruning) -> Callable[[], tuple[LayerProgress, ...]]:
    """Return what counts the zeros of each pruned tensor, as they are when it is called."""
    selected = select_pruned(pruning.model, pruning.config)

    def count() -> tuple[LayerProgress, ...]:
        return tuple(
            LayerProgress(
                name=entry.layer,
                weight=entry.weight,
                sparsity=count_zeros(entry.variable) / max(math.prod(entry.shape), 1),
            )
            for entry in selected
        )

    return count


def _export(
    order: PruneOrder,
    model: keras.Model,
    feeder: Feeder,
    *,
    inputs: list[Array],
    labels: Array | None = None,
) -> None:
    """Write the file and what it has to be held against: the answers of the model in memory."""
    pruning_core.save(model, order.artifact)
    write_reference(order.reference, inputs, answers(model, feeder, inputs), labels=labels)


def _outcome(order: PruneOrder, model: keras.Model, baseline: Baseline | None) -> Pruned:
    config = order.spec.pruning_config().resolved(order.total_steps)
    planned, least_zeros = _planned(model, config, total_steps=order.total_steps)
    return Pruned(
        tensors=_tensors(model, config, planned),
        least_zeros=least_zeros,
        objective=baseline and baseline.objective,
        baseline=baseline and baseline.metrics,
        evaluated_on=baseline and baseline.evaluated_on,
    )


def _planned(
    model: keras.Model, config: PruningConfig, *, total_steps: int
) -> tuple[dict[int, PlannedUnits], int]:
    """Return what shapes alone ask of each variable, by its id, and of all of them together."""
    planned: dict[int, PlannedUnits] = {}
    least_zeros = 0
    for group in by_schedule(model, config):
        ahead = forecast(group.allocation, group.kernels, group.level_at(total_steps))
        least_zeros += ahead.total if ahead.is_exact else sum(filter(None, ahead.weights))
        for variable, kernel, units in zip(
            group.variables, group.kernels, ahead.units, strict=True
        ):
            planned[id(variable)] = PlannedUnits(
                granularity=kernel.granularity, layout=kernel.layout, pruned=units
            )
    return planned, least_zeros


def _tensors(
    model: keras.Model, config: PruningConfig, planned: Mapping[int, PlannedUnits]
) -> tuple[PrunedTensor, ...]:
    selected = {id(entry.variable): entry for entry in select(model, config)}
    return tuple(
        PrunedTensor(
            layer=entry.layer,
            weight=entry.weight,
            shape=entry.shape,
            zeros=count_zeros(entry.variable),
            planned=planned.get(id(entry.variable)),
            reason=entry.decision.reason if isinstance(entry.decision, Skip) else None,
        )
        for entry in (selected[id(variable)] for variable in model.weights)
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
