"""The arrays of a dataset file, and how a batch of them becomes what the model takes.

Nothing is copied before a batch is asked for: arrays that the file stores without compression are
mapped, the others are read once, and casts and preprocessing happen batch by batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeAlias
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from app.jobs.spec import Preprocessing
from worker.errors import RefusedError

Array: TypeAlias = NDArray[Any]

_LOCAL_HEADER_BYTES = 30


@dataclass(frozen=True)
class Samples:
    """Some samples as the file stores them."""

    inputs: tuple[Array, ...]  #: One array for each input of the model, in the model's order.
    labels: Array | None  #: ``None`` in a dataset without labels.

    def __len__(self) -> int:
        return len(self.inputs[0])

    def between(self, start: int, stop: int) -> Samples:
        """Return the samples from ``start`` up to ``stop``, without copying them."""
        return Samples(
            tuple(array[start:stop] for array in self.inputs),
            None if self.labels is None else self.labels[start:stop],
        )


@dataclass(frozen=True)
class Dataset:
    """A dataset as it is used: nothing that is evaluated on was trained on."""

    train: Samples
    validation: Samples | None
    test: Samples | None

    @property
    def held_out(self) -> Samples | None:
        """The samples behind the job's accuracies: the test part, else the validation part."""
        return self.validation if self.test is None else self.test

    @property
    def held_out_split(self) -> str:
        """Name of that part."""
        return "validation" if self.test is None else "test"


def read_dataset(path: Path, *, inputs: Sequence[str], validation_split: float) -> Dataset:
    """Open the parts of a dataset.

    Args:
        path: An ``.npz`` that passed the static check.
        inputs: Names of the model's inputs, in its order; with a single one, its array need not
            carry the name.
        validation_split: Fraction of the training samples that is held out, the last ones of the
            file as in Keras; without effect where the file has a validation part.

    Raises:
        RefusedError: an input has no array.
    """
    arrays = _Arrays(path)
    train = arrays.samples("train", inputs) if arrays.has("train") else arrays.samples("", inputs)
    validation = arrays.samples("val", inputs) if arrays.has("val") else None
    test = arrays.samples("test", inputs) if arrays.has("test") else None
    if validation is None and validation_split:
        kept = math.floor(len(train) * (1.0 - validation_split))
        train, validation = train.between(0, kept), train.between(kept, len(train))
    return Dataset(train, validation, test)


@dataclass(frozen=True)
class _Arrays:
    """The arrays of an ``.npz`` by name."""

    path: Path

    @cached_property
    def _members(self) -> Mapping[str, ZipInfo]:
        with ZipFile(self.path) as archive:
            return {member.filename.removesuffix(".npy"): member for member in archive.infolist()}

    def has(self, part: str) -> bool:
        return any(name.partition("/")[0] == f"x_{part}" for name in self._members)

    def samples(self, part: str, inputs: Sequence[str]) -> Samples:
        suffix = f"_{part}" if part else ""
        return Samples(
            tuple(self._input(f"x{suffix}", name, alone=len(inputs) == 1) for name in inputs),
            self._read(f"y{suffix}") if f"y{suffix}" in self._members else None,
        )

    def _input(self, array: str, input_name: str, *, alone: bool) -> Array:
        named = f"{array}/{input_name}"
        if named in self._members:
            return self._read(named)
        if alone and array in self._members:
            return self._read(array)
        raise RefusedError(
            "input_missing",
            f"The model's input {input_name!r} has no array in the dataset.",
            hint=f"Store it as {named!r}.",
        )

    def _read(self, name: str) -> Array:
        member = self._members[name]
        if member.compress_type == ZIP_STORED:
            return _mapped(self.path, member)
        with ZipFile(self.path) as archive, archive.open(member) as stream:
            return npy.read_array(stream, allow_pickle=False)


def _mapped(path: Path, member: ZipInfo) -> Array:
    with path.open("rb") as file:
        # The local header's own lengths count: they may differ from the central directory's.
        file.seek(member.header_offset)
        header = file.read(_LOCAL_HEADER_BYTES)
        name_bytes = int.from_bytes(header[26:28], "little")
        extra_bytes = int.from_bytes(header[28:30], "little")
        file.seek(member.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes)
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran_order, dtype = read_header(file)
        if math.prod(shape) == 0:
            return np.empty(shape, dtype)
        order = "F" if fortran_order else "C"
        return np.memmap(path, dtype, mode="r", offset=file.tell(), shape=shape, order=order)


@dataclass(frozen=True)
class InputForm:
    """What one input of the model takes."""

    name: str
    shape: tuple[int | None, ...]  #: Of one sample.
    dtype: str

    def accept(self, stored: Array, preprocessing: Preprocessing) -> Array:
        """Return a batch as this input takes it.

        ``x * rescale + offset`` is applied as declared, a missing last axis of size 1 is added,
        the dtype is cast; nothing else is changed.
        """
        batch = np.asarray(stored)
        if preprocessing.rescale is not None or preprocessing.offset:
            factor = 1.0 if preprocessing.rescale is None else preprocessing.rescale
            batch = batch.astype(np.float32) * np.float32(factor) + np.float32(preprocessing.offset)
        if self.shape[-1:] == (1,) and batch.ndim == len(self.shape):
            batch = batch[..., np.newaxis]
        return batch.astype(self.dtype, copy=False)


@dataclass(frozen=True)
class BatchOrder:
    """Which samples the ``step``-th batch of a training holds: a function of seed and epoch.

    Args:
        samples: How many there are.
        batch_size: Of every batch but an epoch's last.
        seed: ``None`` for the order of the file.
    """

    samples: int
    batch_size: int
    seed: int | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the samples."""
        return -(-self.samples // self.batch_size)

    def at(self, step: int) -> NDArray[np.intp] | slice:
        """Return the places of the samples in the batch ``step``, counted from 0."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        chosen = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
        if self.seed is None:
            return chosen
        return _permutation(self.samples, self.seed, epoch)[chosen]


@lru_cache(maxsize=2)
def _permutation(samples: int, seed: int, epoch: int) -> NDArray[np.intp]:
    return np.random.default_rng((seed, epoch)).permutation(samples)
