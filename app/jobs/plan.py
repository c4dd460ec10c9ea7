"""What a job will do, worked out before anything runs: the spec held against model and data.

The same plan answers a preflight, is stored with a job, and is what the runner carries out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from pydantic import BaseModel, ConfigDict

from app.jobs.errors import FieldError, RefusedSpecError
from app.jobs.formats import FILE_NAMES, WITH_ALL_WEIGHTS
from app.jobs.job import Notice
from app.jobs.outlook import Outlook, decisions, layer_types, outlooks
from app.jobs.reading import decoding
from app.jobs.result import EvaluatedOn, ParameterCounts
from app.jobs.sizes import predict_bytes
from app.jobs.spec import JobSpec, Training
from app.jobs.uploads import DatasetSummary, ModelSummary, TensorSpec
from pruning_core.config import LayerRule, PruningConfig
from pruning_core.decision import Prune, Skip
from pruning_core.errors import PruningConfigError
from pruning_core.schedule import PolynomialDecay, Schedule, step_of_last_sparsity

_DEFAULT_VALIDATION_SPLIT = 0.1
_FEWEST_UPDATES = 3
_FEWEST_TO_MEASURE_ON = 50
_NAMES_SHOWN = 5
_FOLDERS = frozenset({"images", "text"})
_CLASSES_SHOWN = 20
_SCALES_ITS_INPUT = frozenset({"Rescaling", "Normalization", "Embedding", "CategoryEncoding"})
_SPARSE_LOSS = "sparse_categorical_crossentropy"
_BINARY_LOSS = "binary_crossentropy"

#: Pointer of a fault in the data, which stands beside the spec and not in it.
_DATA = "/data"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlannedWeight(_Record):
    """One weight tensor, and what will become of it."""

    name: str  #: Path of its layer, for example ``encoder/dense``.
    weight: str  #: Name in its layer, for example ``kernel``.
    shape: tuple[int, ...]
    #: Fraction that the job prunes, exact to the last weight; 0 when skipped. ``None`` where the
    #: weights' values decide.
    sparsity: float | None
    pruned: bool
    reason: str | None  #: Why it is skipped; ``None`` when it is pruned.


class PredictedArtifact(_Record):
    """A file that the job will make, and about how large it will be."""

    name: str
    format: str
    bytes: int


class Plan(_Record):
    """What a job will do, unless it finds something that no file told."""

    spec: JobSpec  #: Every default filled in, but for loss and metrics, which the runner chooses.
    train_samples: int  #: That are trained on; 0 without data.
    held_out: EvaluatedOn | None  #: The samples behind the accuracies.
    steps_per_epoch: int
    total_steps: int
    sparsity: float  #: Fraction of zeros among the weights of all pruned tensors, in the end.
    #: Whether that is exact to the last weight, and not only near: units of unequal sizes, blocks
    #: at ragged edges or filters of several layers, can make it depend on which of them go.
    is_exact: bool
    parameters: ParameterCounts
    layers: tuple[PlannedWeight, ...]
    artifacts: tuple[PredictedArtifact, ...]
    warnings: tuple[Notice, ...]


def plan(spec: JobSpec, model: ModelSummary, dataset: DatasetSummary | None) -> Plan:
    """Hold ``spec`` against the model and the data.

    Args:
        spec: As it was asked for.
        model: What will be pruned.
        dataset: What it will be fine-tuned on; ``None`` to prune without fine-tuning.

    Raises:
        RefusedSpecError: it cannot be carried out; every fault by its JSON pointer into the spec,
            or ``/data`` where the data do not fit the model.
    """
    read = None if dataset is None else decoding(spec, model, dataset)
    if read is not None:
        dataset, spec = read.arrays, spec.model_copy(update={"data": read.reading})
    split = _validation_split(spec, dataset)
    used = _samples_to_train_on(split, dataset)
    steps_per_epoch = math.ceil(used / spec.training.batch_size)
    total_steps = spec.training.epochs * steps_per_epoch
    config = spec.pruning_config()
    errors = (
        *_faults_of_split(split, dataset, used),
        # Without one training sample the steps are no steps, and say nothing about a schedule.
        *(_faults_of_schedules(config, total_steps) if dataset is None or used > 0 else ()),
        *_faults_of_rules(spec.layers, model),
        *_faults_of_selection(spec, model),
        *_faults_of_artifacts(spec, config),
        *(_faults_of_data(spec, model, dataset) if dataset is not None else ()),
    )
    if errors:
        raise RefusedSpecError(*errors)
    resolved = config.resolved(total_steps)
    ahead = outlooks(model, resolved)
    reached = max(step_of_last_sparsity(schedule, total_steps) for schedule in ahead.schedules)
    if dataset is not None and spec.training.cool_down and reached == total_steps:
        raise RefusedSpecError(_no_time_to_cool_down(total_steps))
    filled_in = spec.model_copy(
        update={
            "schedule": resolved.schedule,
            "allocation": resolved.allocation,
            "layers": resolved.layers,
            "training": _training(
                spec.training, dataset, split, can_cool_down=reached < total_steps
            ),
        }
    )
    prunable = sum(tensor.size for tensor in ahead.tensors if isinstance(tensor.decision, Prune))
    return Plan(
        spec=filled_in,
        train_samples=used,
        held_out=_held_out(dataset, used),
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
        sparsity=ahead.pruned / prunable if prunable else 0.0,
        is_exact=ahead.is_exact,
        parameters=ParameterCounts(
            total=model.parameters, prunable=prunable, nonzero=model.parameters - ahead.pruned
        ),
        layers=tuple(_planned(tensor) for tensor in ahead.tensors),
        artifacts=tuple(
            PredictedArtifact(
                name=FILE_NAMES[form], format=form, bytes=predict_bytes(form, model, ahead)
            )
            for form in spec.artifacts
        ),
        warnings=tuple(_warnings(filled_in, spec, model, dataset, used)),
    )


def _validation_split(spec: JobSpec, dataset: DatasetSummary | None) -> float:
    asked = spec.training.validation_split
    if asked is not None:
        return asked
    if dataset is None or dataset.validation_samples or dataset.test_samples:
        return 0.0
    return _DEFAULT_VALIDATION_SPLIT if dataset.train_samples > 1 else 0.0


def _training(
    asked: Training, dataset: DatasetSummary | None, split: float, *, can_cool_down: bool
) -> Training:
    recalibrate, cool_down = asked.recalibrate, asked.cool_down
    if recalibrate is None:
        recalibrate = dataset is not None and not dataset.has_labels
    if cool_down is None:
        cool_down = can_cool_down
    return asked.model_copy(
        update={"validation_split": split, "recalibrate": recalibrate, "cool_down": cool_down}
    )


def _no_time_to_cool_down(total_steps: int) -> FieldError:
    return FieldError(
        "/training/cool_down",
        "cool_down needs steps after the last sparsity is reached; let the schedule end earlier, "
        f"or leave cool_down out. Received: true, and it is reached after step {total_steps} of "
        f"{total_steps}",
    )


def _samples_to_train_on(split: float, dataset: DatasetSummary | None) -> int:
    if dataset is None:
        return 0
    if dataset.validation_samples:
        return dataset.train_samples
    # As in Keras: the last ones of the file are held out.
    return math.floor(dataset.train_samples * (1.0 - split))


def _held_out(dataset: DatasetSummary | None, used: int) -> EvaluatedOn | None:
    if dataset is None:
        return None
    if dataset.test_samples:
        return EvaluatedOn(split="test", samples=dataset.test_samples)
    samples = dataset.validation_samples or dataset.train_samples - used
    return EvaluatedOn(split="validation", samples=samples) if samples else None


def _planned(tensor: Outlook) -> PlannedWeight:
    pruned, size = tensor.pruned, tensor.size
    return PlannedWeight(
        name=tensor.weight.layer,
        weight=tensor.weight.weight,
        shape=tensor.weight.shape,
        sparsity=None if pruned is None else pruned / max(size, 1),
        pruned=isinstance(tensor.decision, Prune),
        reason=tensor.decision.reason if isinstance(tensor.decision, Skip) else None,
    )


def _faults_of_split(
    split: float, dataset: DatasetSummary | None, used: int
) -> Iterator[FieldError]:
    if dataset is not None and used == 0:
        yield FieldError(
            "/training/validation_split",
            f"validation_split must leave at least one of the {dataset.train_samples} training "
            f"samples. Received: {split}",
        )


def _faults_of_schedules(config: PruningConfig, total_steps: int) -> Iterator[FieldError]:
    known = config.with_sparsities()
    schedules = {"/schedule": known.schedule} | {
        f"/layers/{place}/schedule": rule.schedule
        for place, rule in enumerate(known.layers)
        if rule.schedule is not None
    }
    for pointer, schedule in schedules.items():
        try:
            schedule.resolved(total_steps)
        except PruningConfigError as error:
            yield FieldError(f"{pointer}/{error.field}", str(error))


def _faults_of_rules(rules: Sequence[LayerRule], model: ModelSummary) -> Iterator[FieldError]:
    types = layer_types(model)
    paths = [layer.name for layer in model.layers if layer.class_name != "InputLayer"]
    for place, rule in enumerate(rules):
        if any(rule.covers(path, types[path]) for path in paths):
            continue
        of_type = [path for path in paths if rule.type is None or rule.type in types[path]]
        if of_type:
            names = sorted({*of_type, *(path.rpartition("/")[2] for path in of_type)})
            near = get_close_matches(rule.match, names) or of_type[:_NAMES_SHOWN]
            rule_of_field = "match must be the name of a layer, or a glob that covers one"
            field, given = "match", rule.match
        else:
            names = sorted({name for path in paths for name in types[path]})
            near = get_close_matches(str(rule.type), names) or names[:_NAMES_SHOWN]
            rule_of_field = "type must be the name of a class of layers in the model"
            field, given = "type", rule.type
        yield FieldError(
            f"/layers/{place}/{field}",
            f"{rule_of_field} ({', '.join(near)} for example). Received: {given!r}",
        )


def _faults_of_selection(spec: JobSpec, model: ModelSummary) -> Iterator[FieldError]:
    found = decisions(model, spec.pruning_config())
    if any(isinstance(decision, Prune) for decision in found):
        return
    skipped = "; ".join(
        f"{weight.layer}/{weight.weight}: {decision.reason}"
        for weight, decision in zip(model.weights[:_NAMES_SHOWN], found, strict=False)
        if isinstance(decision, Skip)
    )
    yield FieldError(
        "/layers" if spec.layers else "",
        f"at least one weight of the model must be prunable. Received: {skipped}",
    )


def _faults_of_artifacts(spec: JobSpec, config: PruningConfig) -> Iterator[FieldError]:
    if "keras_compact" in spec.artifacts and not config.prunes_filters:
        yield FieldError(
            "/artifacts",
            "keras_compact leaves out whole filters: granularity.kind must be channel, of the run "
            f"or of a rule in layers. Received: {spec.granularity.kind}",
        )


def _faults_of_data(
    spec: JobSpec, model: ModelSummary, dataset: DatasetSummary
) -> Iterator[FieldError]:
    if len(model.outputs) > 1:
        yield FieldError(
            _DATA,
            "a model that is fine-tuned must have one output; leave the data out to prune without "
            f"fine-tuning. Received: {', '.join(model.outputs)}",
        )
        return
    if not dataset.has_labels:
        yield from _faults_of_training_without_labels(spec.training)
    yield from _faults_of_inputs(model, dataset)
    yield from _faults_of_labels(spec.training.loss or model.compiled_loss, model, dataset)


def _faults_of_training_without_labels(training: Training) -> Iterator[FieldError]:
    if training.metrics is not None:
        yield FieldError(
            "/training/metrics",
            "metrics must be left out where the data have no labels. "
            f"Received: {', '.join(training.metrics)}",
        )
    if training.distillation is not None:
        yield FieldError(
            "/training/distillation",
            "distillation must be left out where the data have no labels: there the unpruned "
            f"model is the only teacher anyway. Received: weight {training.distillation.weight}",
        )


def _faults_of_inputs(model: ModelSummary, dataset: DatasetSummary) -> Iterator[FieldError]:
    arrays = {
        name.partition("/")[2]: array
        for name, array in ((array.name, array) for array in dataset.arrays)
        if name.partition("/")[0] in {"x", "x_train"}
    }
    wanted = {tensor.name: tensor for tensor in model.inputs}
    if len(wanted) == 1 and "" in arrays:
        yield from _faults_of_shape(model.inputs[0], arrays[""])
        return
    if arrays.keys() != wanted.keys():
        names = ", ".join(f"x_train/{name}" for name in wanted)
        given = ", ".join(array.name for array in arrays.values())
        yield FieldError(
            _DATA, f"the data must name the model's inputs: {names}. Received: {given}"
        )
        return
    for name, tensor in wanted.items():
        yield from _faults_of_shape(tensor, arrays[name])


def _faults_of_shape(tensor: TensorSpec, array: TensorSpec) -> Iterator[FieldError]:
    wanted, given = tensor.shape[1:], array.shape[1:]
    if not _fits(given, wanted) and not _fits((*given, 1), wanted):
        yield FieldError(
            _DATA,
            f"each sample of {array.name} must have the shape that the model's input "
            f"{tensor.name!r} takes, {_shown(wanted)}. Received: {_shown(given)}",
        )


def _fits(given: tuple[int | None, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(given) == len(wanted) and all(
        size is None or size == there for size, there in zip(wanted, given, strict=True)
    )


def _shown(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"


def _faults_of_labels(
    loss: str | None, model: ModelSummary, dataset: DatasetSummary
) -> Iterator[FieldError]:
    """Labels that no choice of the runner could take; it sees more, and may still refuse."""
    units = model.output_units
    lowest, highest = dataset.lowest_label, dataset.highest_label
    if lowest is None or highest is None:
        return
    if loss == _BINARY_LOSS and not 0 <= lowest <= highest <= 1:
        yield FieldError(
            _DATA,
            f"the labels must lie from 0 to 1 for {loss}. Received: {lowest:g} to {highest:g}",
        )
    counts_classes = loss in {None, _SPARSE_LOSS} and dataset.integer_labels
    if counts_classes and units is not None and units > 1 and not 0 <= lowest <= highest < units:
        yield FieldError(
            _DATA,
            f"the labels must be class numbers from 0 to {units - 1}, since the model's output "
            f"has {units} units. Received: {lowest:g} to {highest:g}",
        )


def _warnings(
    resolved: JobSpec,
    asked: JobSpec,
    model: ModelSummary,
    dataset: DatasetSummary | None,
    used: int,
) -> Iterator[Notice]:
    if model.changes_for_keras_3:
        yield Notice(
            code="keras2_file",
            message="The file is of Keras 2 and is converted for Keras 3: "
            f"{'; '.join(model.changes_for_keras_3)}. It is pruned only if it then answers as "
            "the original does.",
        )
    if resolved.pruning_config().prunes_filters and WITH_ALL_WEIGHTS.issuperset(asked.artifacts):
        yield Notice(
            code="filters_stay",
            message="Filters that are pruned stay in the files that are asked for, as zeros. "
            "keras_compact in artifacts is the model without them.",
        )
    if dataset is None:
        yield Notice(
            code="no_data",
            message="Without data the model is pruned at once, without fine-tuning and without "
            "measured accuracy; above about 50 % that usually costs much of it.",
        )
        return
    if not dataset.has_labels:
        yield Notice(
            code="no_labels",
            message="The data have no labels, so the model is tuned to answer as it did before "
            "it was pruned. The figures say how far it does, and not how often it is right.",
        )
    if dataset.classes:
        yield Notice(
            code="classes_numbered",
            message=f"The classes are numbered in the order of their names: "
            f"{_numbered(dataset.classes)}. A model that numbers them otherwise looks untrained.",
        )
    yield from _warnings_of_schedule(resolved.schedule)
    yield from _warnings_of_samples(asked, dataset, used)
    if dataset.ignored:
        what = "files" if dataset.kind in _FOLDERS else "arrays"
        yield Notice(
            code="arrays_ignored",
            message=f"These {what} of the data are not used: {', '.join(dataset.ignored)}.",
        )
    if _looks_unscaled(resolved, model, dataset):
        yield Notice(
            code="inputs_not_rescaled",
            message="The samples are bytes from 0 to 255, and nothing brings them to another "
            "range. If the model was trained on 0 to 1, set preprocessing.rescale to 1/255.",
        )


def _warnings_of_schedule(schedule: Schedule) -> Iterator[Notice]:
    if not isinstance(schedule, PolynomialDecay):
        return
    end_step, frequency = schedule.end_step, schedule.frequency
    if end_step is None or frequency is None:
        return
    span = end_step - schedule.begin_step
    updates = 1 + math.ceil(span / frequency)
    if span > 0 and updates < _FEWEST_UPDATES:
        gentler = (
            "a longer training" if frequency == 1 else f"a schedule.frequency below {frequency}"
        )
        yield Notice(
            code="few_mask_updates",
            message=f"The masks change only {updates} times between step {schedule.begin_step} and "
            f"step {end_step}, so the model is pruned in jumps; {gentler} is gentler.",
        )


def _warnings_of_samples(asked: JobSpec, dataset: DatasetSummary, used: int) -> Iterator[Notice]:
    if used < asked.training.batch_size:
        yield Notice(
            code="smaller_than_a_batch",
            message=f"The {used} training samples make one batch of fewer than "
            f"{asked.training.batch_size}: an epoch is one step.",
        )
    held_out = _held_out(dataset, used)
    if held_out is None:
        wanted = "x_test and y_test" if dataset.has_labels else "x_test"
        yield Notice(
            code="no_held_out_data",
            message="No samples are held out, so nothing can be measured on the result: give "
            f"{wanted}, or set training.validation_split.",
        )
    elif held_out.samples < _FEWEST_TO_MEASURE_ON:
        yield Notice(
            code="few_held_out_samples",
            message=f"The figures are measured on {held_out.samples} samples, each of which is "
            f"{1 / held_out.samples:.0%} of them: small differences mean nothing.",
        )
    if asked.training.validation_split and dataset.validation_samples:
        yield Notice(
            code="validation_split_unused",
            message="The data have a validation part, so validation_split is without effect.",
        )


def _numbered(classes: Sequence[str]) -> str:
    shown = ", ".join(f"{name} {place}" for place, name in enumerate(classes[:_CLASSES_SHOWN]))
    return shown + (" …" if len(classes) > _CLASSES_SHOWN else "")


def _looks_unscaled(spec: JobSpec, model: ModelSummary, dataset: DatasetSummary) -> bool:
    has_bytes = dataset.kind == "images" or any(
        array.name.startswith("x") and array.dtype == "uint8" for array in dataset.arrays
    )
    scales = any(layer.class_name in _SCALES_ITS_INPUT for layer in model.layers)
    return has_bytes and not scales and spec.preprocessing.rescale is None
