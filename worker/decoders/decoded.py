"""What decoders yield."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.jobs.intake.class_folders import Part
from app.jobs.reading import Field
from worker.data import Array
from worker.errors import RefusedError


@dataclass(frozen=True)
class Decoded:
    """Some samples of one part, those that follow the ones before."""

    part: Part
    inputs: tuple[Array, ...]  #: One array for each field, samples along the first axis.
    labels: Array | None


def as_labels(values: Array, field: Field, *, is_categorical: bool) -> Array:
    """Return labels in the form of their field; as rows with a single 1 where asked for."""
    if not is_categorical:
        return values.reshape(len(values), *field.shape).astype(field.dtype)
    return np.eye(field.shape[0], dtype=field.dtype)[values.astype(np.intp).reshape(-1)]


def changed_since() -> RefusedError:
    """The refusal of a file that another process found to be something else."""
    return RefusedError(
        "data_unreadable",
        "The data hold something else than they did when they were uploaded.",
        hint="Upload them again, and submit the job again.",
    )
