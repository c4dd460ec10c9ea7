"""The order ``verify``: open the file that will be downloaded, hold it to account, measure it.

It runs in a process that has never seen the model, and imports nothing of ``pruning_core`` that
knows Keras: a file that needed it would not open here.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from app.jobs.job import Stage
from app.jobs.result import ArtifactResult, Latency, LayerSparsity, Metrics, ParameterCounts
from pruning_core.criterion import magnitude
from pruning_core.granularity import Kernel, units_of
from worker.data import Array, Samples, read_dataset
from worker.dense import load_dense
from worker.errors import RefusedError
from worker.feeding import Feeder, input_names
from worker.latency import all_threads, race, remark_on_speed
from worker.masks import write_masks
from worker.messages import (
    PlannedUnits,
    Pruned,
    PrunedTensor,
    StageBegun,
    Update,
    Verified,
    VerifyOrder,
    masks_path,
)
from worker.models import compile_to, evaluate, first_line
from worker.reference import answers, read_labels, read_reference
from worker.weighing import weigh

#: Largest difference from the pruned model, for outputs of size 1; larger ones may differ by as
#: much in proportion.
TOLERANCE = 1e-5

#: What a unit of each granularity is once it is pruned.
_ZERO_UNITS = {
    "unstructured": "zeros",
    "block": "blocks of zeros",
    "n_of_m": "zeros in its pattern",
    "channel": "outputs of zeros",
}


def verify(order: VerifyOrder, report: Callable[[Update], None]) -> Verified:
    """Carry out the order.

    Raises:
        RefusedError: the file is not the model that was pruned, or not as sparse as asked.
    """
    report(StageBegun(stage=Stage.VERIFYING))
    model = _open(order.artifact)
    feeder = Feeder.of(model, order.spec.preprocessing, batch_size=order.spec.training.batch_size)
    inputs, expected = read_reference(order.reference)
    error = _require_same_answers(expected, answers(model, feeder, inputs))
    layers = _require_planned_zeros(model, order.pruned)
    write_masks(masks_path(order.folder), _pruned_values(model, order.pruned))
    tensors = order.pruned.tensors
    pruned = [tensor for tensor in tensors if tensor.planned is not None]
    weight = weigh(order.artifact)
    latency = _raced(model, feeder, inputs, order.artifact)
    remark = remark_on_speed(latency, order.spec.granularity, form="keras")
    return Verified(
        sparsity=_zeros(pruned) / _size(pruned),
        parameters=ParameterCounts(
            total=_size(tensors), prunable=_size(pruned), nonzero=_size(tensors) - _zeros(tensors)
        ),
        layers=layers,
        artifact=ArtifactResult(
            name=order.artifact.name,
            format="keras",
            bytes=weight.bytes,
            compressed_bytes=weight.gzip_bytes,
            sha256=weight.sha256,
            verified=True,
            max_abs_error=error,
            metrics=_measure(model, feeder, order),
            latency_ms=latency[-1].pruned.median_ms,
            latency=latency,
            compressed=weight.compressed,
            nonzero=_size(tensors) - _zeros(tensors),
            remarks=(remark,),
        ),
    )


def _open(path: Path) -> keras.Model:
    try:
        # As anybody opens it who has downloaded it.
        return keras.saving.load_model(path, safe_mode=True)
    except Exception as error:  # Keras raises whatever the file's content provokes.
        fault = f"plain Keras cannot open it: {first_line(error)}"
        raise _failed(fault) from error


def _failed(fault: str) -> RefusedError:
    return RefusedError(
        "verification_failed",
        f"The exported file is not the model that was pruned: {fault}.",
        hint="Nothing was published. This is a fault of the service, not of your model: please "
        "report it.",
    )


def _require_same_answers(expected: list[Array], received: list[Array]) -> float:
    """Return the largest difference; where the model was not finite, the file must not be."""
    largest = 0.0
    for one, other in zip(expected, received, strict=True):
        finite = np.isfinite(one)
        if one.shape != other.shape or not np.array_equal(finite, np.isfinite(other)):
            fault = "its outputs have another shape, or are not finite elsewhere"
            raise _failed(fault)
        if not finite.any():
            continue
        error = float(np.abs(one[finite] - other[finite]).max())
        size = max(1.0, float(np.abs(one[finite]).max()))
        if error > TOLERANCE * size:
            fault = f"its outputs differ by up to {error:.3g}"
            raise _failed(fault)
        largest = max(largest, error)
    return largest


def _require_planned_zeros(model: keras.Model, pruned: Pruned) -> tuple[LayerSparsity, ...]:
    variables = model.weights
    if len(variables) != len(pruned.tensors):
        fault = f"it has {len(variables)} weight tensors instead of {len(pruned.tensors)}"
        raise _failed(fault)
    layers = tuple(
        _counted(tensor, keras.ops.convert_to_numpy(variable))
        for tensor, variable in zip(pruned.tensors, variables, strict=True)
    )
    zeros = _zeros(tensor for tensor in pruned.tensors if tensor.planned is not None)
    if zeros < pruned.least_zeros:
        what, wanted = "the pruned weights", f"{pruned.least_zeros} zeros in all"
        raise _missed(what, wanted, zeros)
    return layers


def _pruned_values(model: keras.Model, pruned: Pruned) -> Iterator[Array]:
    for tensor, variable in zip(pruned.tensors, model.weights, strict=True):
        if tensor.planned is not None:
            yield keras.ops.convert_to_numpy(variable)


def _counted(tensor: PrunedTensor, values: Array) -> LayerSparsity:
    name = f"{tensor.layer}/{tensor.weight}"
    zeros = values.size - int(np.count_nonzero(values))
    if values.shape != tensor.shape or zeros != tensor.zeros:
        fault = (
            f"{name} has {zeros} zeros in shape {values.shape} instead of {tensor.zeros} in "
            f"{tensor.shape}"
        )
        raise _failed(fault)
    if tensor.planned is not None:
        _require_zero_units(name, values, tensor.planned)
    return LayerSparsity(
        name=tensor.layer,
        weight=tensor.weight,
        shape=tensor.shape,
        sparsity=zeros / values.size if values.size else 0.0,
        pruned=tensor.planned is not None,
        reason=tensor.reason,
    )


def _require_zero_units(name: str, values: Array, planned: PlannedUnits) -> None:
    """Require whole units of zeros: a weight of a block that is not zero keeps all of the block.

    A unit that was zero before, or became zero by itself, may come on top.
    """
    if planned.pruned is None:
        return
    kernel = Kernel(values.shape, planned.granularity, planned.layout)
    zeros = int(np.count_nonzero(units_of(magnitude(values), kernel).scores == 0))
    if zeros < planned.pruned:
        wanted = f"{planned.pruned} {_ZERO_UNITS[planned.granularity.kind]}"
        raise _missed(name, wanted, zeros)


def _missed(name: str, wanted: str, zeros: int) -> RefusedError:
    return RefusedError(
        "sparsity_missed",
        f"{name} must have at least {wanted}. Received: {zeros}",
        hint="Nothing was published. This is a fault of the service, not of your model: please "
        "report it.",
    )


def _size(layers: Iterable[PrunedTensor]) -> int:
    return sum(math.prod(layer.shape) for layer in layers)


def _zeros(layers: Iterable[PrunedTensor]) -> int:
    return sum(layer.zeros for layer in layers)


def _measure(model: keras.Model, feeder: Feeder, order: VerifyOrder) -> Metrics:
    objective = order.pruned.objective
    if order.dataset is None or objective is None:
        return {}
    dataset = read_dataset(
        order.dataset,
        inputs=input_names(model),
        validation_split=order.spec.training.validation_split or 0.0,
    )
    held_out = dataset.held_out
    assert held_out is not None, "what the baseline was measured on is there"
    if held_out.labels is None:
        held_out = Samples(held_out.inputs, read_labels(order.reference))
    compile_to(objective, model, optimizer=None)
    return evaluate(model, feeder.in_order(held_out))


def _raced(
    model: keras.Model, feeder: Feeder, inputs: list[Array], path: Path
) -> tuple[Latency, ...]:
    """Time predictions of one sample, on as many threads as TensorFlow was started with."""
    dense = load_dense(path)
    sample = keras.tree.pack_sequence_as(
        feeder.structure, [tf.constant(array[:1]) for array in inputs]
    )
    race_of = (_predicting(each, sample) for each in (model, dense))
    return (race(*race_of, threads=all_threads()),)


def _predicting(model: keras.Model, sample: Any) -> Callable[[], object]:
    predict: Any = tf.function(functools.partial(model, training=False))
    return lambda: keras.tree.map_structure(np.asarray, predict(sample))
