"""Samples of a zip with a folder for each class."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import numpy as np

from app.jobs.intake.archive import OF_FILES, Archive, open_archive
from app.jobs.intake.class_folders import (
    IMAGE_ENDINGS,
    TEXT_ENDINGS,
    ClassFolders,
    Sample,
    class_folders,
)
from app.jobs.intake.folders import MAX_IMAGE_BYTES, read_text
from app.jobs.reading import Decoding
from worker.data import Array
from worker.decoders.decoded import Decoded, as_labels
from worker.decoders.image import decode_image

_SAMPLES_AT_A_TIME = 64


def decoded_images(path: Path, plan: Decoding) -> Iterator[Decoded]:
    """Yield the images of the zip at ``path``, scaled where the plan says so."""
    [field] = plan.inputs

    def read(archive: Archive, sample: Sample) -> Array:
        content = archive.read(sample.name, max_bytes=MAX_IMAGE_BYTES)
        return decode_image(content, field, name=sample.name)

    return _decoded(path, plan, IMAGE_ENDINGS, read)


def decoded_texts(path: Path, plan: Decoding) -> Iterator[Decoded]:
    """Yield the texts of the zip at ``path``."""
    [field] = plan.inputs

    def read(archive: Archive, sample: Sample) -> Array:
        return np.array(read_text(archive, sample.name), field.dtype).reshape(field.shape)

    return _decoded(path, plan, TEXT_ENDINGS, read)


def _decoded(
    path: Path,
    plan: Decoding,
    endings: tuple[str, ...],
    read: Callable[[Archive, Sample], Array],
) -> Iterator[Decoded]:
    assert plan.label is not None, "a folder is a label"
    is_categorical = plan.reading.label_mode == "categorical"
    with open_archive(path, OF_FILES) as archive:
        for some in _in_groups(class_folders(archive.names, endings)):
            values = np.stack([read(archive, sample) for sample in some])
            numbers = np.array([sample.label for sample in some])
            labels = as_labels(numbers, plan.label, is_categorical=is_categorical)
            yield Decoded(some[0].part, (values,), labels)


def _in_groups(folders: ClassFolders) -> Iterator[list[Sample]]:
    """Yield a few samples at a time, all of one part."""
    for _, of_part in groupby(folders.samples, key=lambda sample: sample.part):
        samples = list(of_part)
        for start in range(0, len(samples), _SAMPLES_AT_A_TIME):
            yield samples[start : start + _SAMPLES_AT_A_TIME]
