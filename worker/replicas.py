"""One training on several devices: each computes its part of every batch.

The result is that of one device but for rounding, so it is done only where it can be: every batch
must fall into equal parts, because the loss of each part counts alike. See
docs/decisions/0022.
"""

# TensorFlow's and Keras' types are incomplete.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager

import keras
import tensorflow as tf

from app.jobs.job import Notice
from app.jobs.spec import Training
from worker.data import Samples


def devices_here() -> tuple[str, ...]:
    """Return the GPUs that this process owns; without any, its CPU, which counts as one."""
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tuple(device.name for device in found)


def usable(devices: Sequence[str], training: Training, parts: Iterable[Samples]) -> tuple[str, ...]:
    """Return as many of the devices as give the result of one.

    Args:
        devices: All that there are, one at least.
        training: Without distillation and recalibration, whose sums are over whole batches.
        parts: The samples that are trained and validated on.
    """
    if training.distillation is not None or training.recalibrate:
        return (devices[0],)
    sizes = {training.batch_size, *(len(part) % training.batch_size for part in parts)}
    most = max(
        count for count in range(1, len(devices) + 1) if all(size % count == 0 for size in sizes)
    )
    return tuple(devices[:most])


def left_idle(devices: Sequence[str], used: Sequence[str]) -> tuple[Notice, ...]:
    """Return what the caller should know where not all devices are used."""
    if len(used) == len(devices):
        return ()
    message = (
        f"The training uses {len(used)} of the {len(devices)} devices of its worker. To use them "
        "all, the batch size and the size of the last batch of the training samples, and of the "
        "validation samples, must be multiples of their number, without distillation and "
        "recalibration."
    )
    return (Notice(code="devices_idle", message=message),)


@contextmanager
def replicated(devices: Sequence[str]) -> Generator[None]:
    """Have models that are made in the block be trained on all these devices at once."""
    # Not NCCL, which opens sockets: a confined runner has none.
    strategy = tf.distribute.MirroredStrategy(
        list(devices), cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
    with strategy.scope():
        yield


def normalise_whole_batches(model: keras.Model) -> None:
    """Have batch normalisation take its statistics from all parts of a batch together."""
    for layer in model._flatten_layers():  # noqa: SLF001 - `layers` leaves out nested ones
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
