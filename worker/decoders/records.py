"""Samples of a file of records."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from app.jobs.reading import Decoding, Field
from app.jobs.spec import ImageFeature, NumbersFeature, RawFeature
from worker.data import Array
from worker.decoders.decoded import Decoded, as_labels
from worker.decoders.image import decode_image
from worker.errors import RefusedError

_RECORDS_AT_A_TIME = 64


def decoded(path: Path, plan: Decoding) -> Iterator[Decoded]:
    """Yield the records of the TFRecord file at ``path``.

    Raises:
        RefusedError: one is not what its checksum or the plan says.
    """
    fields = [*plan.inputs, *([] if plan.label is None else [plan.label])]
    wanted = {field.sources[0]: _wanted(field) for field in fields}
    records = tf.data.TFRecordDataset(str(path)).batch(_RECORDS_AT_A_TIME)
    try:
        for some in records:
            yield _of(tf.io.parse_example(some, wanted), plan)
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        raise RefusedError(
            "data_unreadable",
            "A record is not what its checksum says, or holds other features than the others.",
            hint="Write the file again with tf.io.TFRecordWriter, and upload it.",
        ) from error


def _wanted(field: Field) -> Any:
    match field.feature:
        case NumbersFeature(shape=shape):
            dtype = tf.int64 if field.dtype == "int64" else tf.float32
            return tf.io.FixedLenFeature(shape, dtype)
        case _:
            return tf.io.FixedLenFeature((), tf.string)


def _of(parsed: dict[str, Any], plan: Decoding) -> Decoded:
    inputs = tuple(_values(parsed[field.sources[0]].numpy(), field) for field in plan.inputs)
    if plan.label is None:
        return Decoded("train", inputs, None)
    values = parsed[plan.label.sources[0]].numpy()
    is_categorical = plan.reading.label_mode == "categorical"
    return Decoded("train", inputs, as_labels(values, plan.label, is_categorical=is_categorical))


def _values(values: Array, field: Field) -> Array:
    match field.feature:
        case ImageFeature(name=name):
            return np.stack([decode_image(content, field, name=name) for content in values])
        case RawFeature():
            return np.stack([_raw(content, field) for content in values])
        case _:
            return values.astype(field.dtype)


def _raw(content: bytes, field: Field) -> Array:
    dtype = np.dtype(field.dtype).newbyteorder("<")
    if len(content) != math.prod(field.shape) * dtype.itemsize:
        raise RefusedError(
            "data_unreadable",
            f"The bytes of {field.sources[0]!r} must be {math.prod(field.shape)} {field.dtype} in "
            f"each record. Received: {len(content)} bytes.",
            hint="Change shape or dtype in data.features.",
        )
    values = np.frombuffer(content, dtype).reshape(field.shape)
    if not np.isfinite(values).all():
        raise RefusedError(
            "not_finite",
            f"A record holds NaN or an infinite value in feature {field.sources[0]!r}.",
            hint="Leave out or replace those records and upload the file again.",
        )
    return values.astype(field.dtype)
