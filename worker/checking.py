"""The order ``check``: open converted files by their own runtimes, and hold them to account.

It runs in a process that has seen neither the training nor the conversion.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from app.jobs.formats import WITH_ALL_WEIGHTS
from app.jobs.job import Stage
from app.jobs.result import ArtifactResult, Latency, Metrics
from pruning_core.compaction import compact
from pruning_core.reporting import count_zeros
from pruning_core.selection import select
from worker.data import Array, Samples, read_dataset
from worker.dense import load_dense
from worker.feeding import Batches, Feeder, input_names
from worker.formats.by_keras import RunByKeras
from worker.formats.graph import inputs_of, outputs_of
from worker.formats.opened import Opened, Port, WeightCount
from worker.formats.table import FORMATS, Format
from worker.latency import all_threads, race, remark_on_speed
from worker.messages import (
    Checked,
    CheckOrder,
    ConvertedFile,
    FileChecked,
    FileFailed,
    StageBegun,
    Update,
)
from worker.models import compile_to, evaluate, first_line, load_model
from worker.reference import read_labels, read_reference
from worker.weighing import weigh

#: Samples that a file is given at a time, lest what lies between its layers fills the memory.
_BATCH = 32


class UnfitFileError(Exception):
    """A file is not what was asked for; the message continues "it is not published: "."""


def check(order: CheckOrder, report: Callable[[Update], None]) -> Checked:
    """Carry out the order; what does not hold is reported, and the next file is tried."""
    report(StageBegun(stage=Stage.VERIFYING))
    yardstick = _Yardstick.of(order)
    for file in order.files:
        gc.collect()  # models lead in circles, and a large one needs the memory of the one before
        try:
            artifact = _checked(file, yardstick)
        except UnfitFileError as fault:
            report(FileFailed(format=file.format, fault=str(fault)))
        else:
            report(FileChecked(artifact=artifact))
    return Checked()


@dataclass(frozen=True)
class _Yardstick:
    """What every file is held against."""

    order: CheckOrder
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    samples: Mapping[str, Array]
    answers: Mapping[str, Array]  #: Of the pruned model to these samples.
    zeros: int  #: In its pruned kernels.
    #: In those of the same model without the filters that could be taken out.
    zeros_left: int
    held_out: Batches | None  #: Inputs and labels; ``None`` where there is nothing to measure.

    @classmethod
    def of(cls, order: CheckOrder) -> _Yardstick:
        model = load_model(order.model)
        inputs, outputs = inputs_of(model), outputs_of(model)
        samples, answers = read_reference(order.reference)
        return cls(
            order,
            inputs,
            outputs,
            dict(zip((port.name for port in inputs), samples, strict=True)),
            dict(zip((port.name for port in outputs), answers, strict=True)),
            sum(tensor.zeros for tensor in order.pruned.tensors if tensor.planned is not None),
            _zeros_left(order, model),
            _held_out(order, model),
        )


def _zeros_left(order: CheckOrder, model: keras.Model) -> int:
    planned = [tensor for tensor in order.pruned.tensors if tensor.planned is not None]
    config = order.spec.pruning_config()
    if not config.prunes_filters:
        return sum(tensor.zeros for tensor in planned)
    names = {(tensor.layer, tensor.weight) for tensor in planned}
    return sum(
        count_zeros(entry.variable)
        for entry in select(compact(model), config)
        if (entry.layer, entry.weight) in names
    )


def _held_out(order: CheckOrder, model: keras.Model) -> Batches | None:
    if order.dataset is None or order.pruned.objective is None:
        return None
    training = order.spec.training
    samples = read_dataset(
        order.dataset,
        inputs=input_names(model),
        validation_split=training.validation_split or 0.0,
    ).held_out
    assert samples is not None, "what the baseline was measured on is there"
    if samples.labels is None:
        samples = Samples(samples.inputs, read_labels(order.reference))
    feeder = Feeder.of(model, order.spec.preprocessing, batch_size=training.batch_size)
    return feeder.in_order(samples)


def _checked(file: ConvertedFile, yardstick: _Yardstick) -> ArtifactResult:
    form = FORMATS[file.format]
    # It is opened again to be timed: not while it still takes memory here.
    found = _found(file, form, yardstick)
    gc.collect()
    latency = _latency(file, form, yardstick)
    granularity = yardstick.order.spec.granularity
    weight = weigh(file.path, form.stretches(file.path))
    return ArtifactResult(
        name=file.path.name,
        format=file.format,
        bytes=weight.bytes,
        compressed_bytes=weight.gzip_bytes,
        sha256=weight.sha256,
        verified=True,
        max_abs_error=found.max_abs_error,
        metrics=found.metrics,
        latency_ms=latency[-1].pruned.median_ms,
        latency=latency,
        compressed=weight.compressed,
        nonzero=found.weights.nonzero,
        remarks=(*file.remarks, remark_on_speed(latency, granularity, form=file.format)),
    )


@dataclass(frozen=True)
class _Findings:
    """What was found out of a file that holds."""

    max_abs_error: float
    weights: WeightCount
    metrics: Metrics


def _found(file: ConvertedFile, form: Format, yardstick: _Yardstick) -> _Findings:
    opened = _opened(file, form)
    _require_ports("input", yardstick.inputs, opened.inputs)
    _require_ports("output", yardstick.outputs, opened.outputs)
    answers = _answers(opened, yardstick.samples)
    return _Findings(
        max_abs_error=_require_alike(yardstick.answers, answers, tolerance=form.tolerance),
        weights=_require_zeros(
            opened.weights(),
            yardstick.zeros if file.format in WITH_ALL_WEIGHTS else yardstick.zeros_left,
        ),
        metrics=_measured(opened, yardstick),
    )


def _opened(file: ConvertedFile, form: Format) -> Opened:
    try:
        return form.open(file.path, all_threads())
    except Exception as error:  # Runtimes raise whatever the file's content provokes.
        message = f"its runtime cannot open it: {first_line(error)}"
        raise UnfitFileError(message) from error


def _answers(opened: Opened, samples: Mapping[str, Array]) -> dict[str, Array]:
    count = len(next(iter(samples.values())))
    try:
        batches = [
            opened.answer({name: array[at : at + _BATCH] for name, array in samples.items()})
            for at in range(0, count, _BATCH)
        ]
    except Exception as error:  # As above.
        message = f"its runtime cannot run it: {first_line(error)}"
        raise UnfitFileError(message) from error
    return {name: np.concatenate([each[name] for each in batches]) for name in batches[0]}


def _require_ports(kind: str, wanted: Iterable[Port], received: Iterable[Port]) -> None:
    """Require the same names, shapes and dtypes; a free batch may have become one sample."""
    theirs = {port.name: port for port in received}
    for port in wanted:
        other = theirs.pop(port.name, None)
        if other is None:
            fault = f"it has no {kind} {port.name!r}"
            raise UnfitFileError(fault)
        batch, *shape = other.shape
        if batch not in {None, 1} or (other.dtype, shape) != (port.dtype, [*port.shape[1:]]):
            fault = (
                f"its {kind} {port.name!r} is {other.dtype} of shape {other.shape} instead of "
                f"{port.dtype} of shape {port.shape}"
            )
            raise UnfitFileError(fault)
    if theirs:
        fault = f"it has {kind}s that the model has not: {', '.join(theirs)}"
        raise UnfitFileError(fault)


def _require_alike(
    wanted: Mapping[str, Array], received: Mapping[str, Array], *, tolerance: float
) -> float:
    """Return the largest difference; where the model was not finite, the file must not be."""
    largest = 0.0
    for name, one in wanted.items():
        other = received[name]
        if one.shape != other.shape:
            fault = f"its output {name!r} has shape {other.shape} instead of {one.shape}"
            raise UnfitFileError(fault)
        finite = np.isfinite(one)
        if not np.array_equal(finite, np.isfinite(other)):
            fault = f"its output {name!r} is not finite where the pruned model's is"
            raise UnfitFileError(fault)
        if not finite.any():
            continue
        difference = np.abs(one[finite].astype(np.float64) - other[finite].astype(np.float64))
        largest = max(largest, float(difference.max()))
        error, size = _root_mean_square(difference), _root_mean_square(one[finite])
        if error > tolerance * size:
            fault = (
                f"its output {name!r} differs by {error:.3g} on average (root mean square) where "
                f"the pruned model's is {size:.3g}; at most {tolerance:g} of that is allowed"
            )
            raise UnfitFileError(fault)
    return largest


def _root_mean_square(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values.astype(np.float64)))))


def _require_zeros(weights: WeightCount, pruned: int) -> WeightCount:
    """Require that no zero was lost; a format may round more weights to zero."""
    zeros = weights.total - weights.nonzero
    if zeros < pruned:
        fault = f"{zeros} of its weights are zero instead of at least {pruned}"
        raise UnfitFileError(fault)
    return weights


class _Answered(keras.utils.PyDataset):
    """What a file answers to batches of samples, beside the labels."""

    def __init__(self, opened: Opened, yardstick: _Yardstick, batches: Batches) -> None:
        super().__init__()
        self._opened: Opened | None = opened
        self._names = [port.name for port in yardstick.inputs]
        self._output = yardstick.outputs[0].name
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        assert self._opened is not None, "it was not closed"
        inputs, labels = self._batches[index]
        arrays = dict(zip(self._names, keras.tree.flatten(inputs), strict=True))
        return self._opened.answer(arrays)[self._output], labels

    def close(self) -> None:
        """Let go of the file: TensorFlow does not let go of this."""
        self._opened = None


def _measured(opened: Opened, yardstick: _Yardstick) -> Metrics:
    """Return loss and metrics of the file's answers to all held-out samples."""
    objective = yardstick.order.pruned.objective
    if yardstick.held_out is None or objective is None:
        return {}
    port = yardstick.outputs[0]
    given = keras.Input(port.shape[1:], dtype=port.dtype)
    answers_as_they_are = keras.Model(given, keras.layers.Identity()(given))
    compile_to(objective, answers_as_they_are, optimizer=None)
    with closing(_Answered(opened, yardstick, yardstick.held_out)) as answered:
        return evaluate(answers_as_they_are, answered)


def _latency(file: ConvertedFile, form: Format, yardstick: _Yardstick) -> tuple[Latency, ...]:
    """Time single samples, on one thread where the runtime can, and on all."""
    sample = {name: array[:1] for name, array in yardstick.samples.items()}
    most = all_threads()
    return tuple(
        race(
            functools.partial(form.open(file.path, threads).answer, sample),
            functools.partial(_dense(file, form, threads, yardstick).answer, sample),
            threads=threads,
        )
        for threads in ((1, most) if form.has_threads and most > 1 else (most,))
    )


def _dense(
    file: ConvertedFile, form: Format, threads: int, yardstick: _Yardstick
) -> Opened | RunByKeras:
    if file.dense is not None:
        return form.open(file.dense, threads)
    return RunByKeras(load_dense(yardstick.order.model))
