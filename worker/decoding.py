"""A file of data as it was uploaded, written out as the arrays that everything else works on.

An ``.npz`` without compression, in the runner's folder: it is mapped, so memory does not grow with
it; any sample can be had at any time, so the order of a training is a function of seed and epoch
and a training can be gone on with anywhere; and who verifies measures on the very same samples.
It costs disk in the size of the decoded data. A pipeline of ``tf.data`` would decode anew in each
epoch and each process, and knows no places.
"""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from app.jobs.errors import RefusedFileError
from app.jobs.intake.dataset import summarise_dataset
from app.jobs.reading import Decoding, Field, array_names, decoding
from app.jobs.spec import JobSpec
from app.jobs.uploads import ModelSummary
from worker.decoders.decoded import Decoded, changed_since
from worker.errors import RefusedError

_SECONDS_BETWEEN_SIGNS = 10.0


def decode(
    upload: Path,
    arrays: Path,
    *,
    spec: JobSpec,
    model: ModelSummary,
    alive: Callable[[], None],
) -> None:
    """Write what ``upload`` holds as an ``.npz`` at ``arrays``.

    Args:
        upload: Any kind of data but an ``.npz``; it is checked again.
        arrays: Where to.
        spec: As planned.
        model: What the samples are for.
        alive: Called now and then, as decoding can take long.

    Raises:
        RefusedError: a sample cannot be decoded.
    """
    try:
        plan = decoding(spec, model, summarise_dataset(upload))
        assert plan is not None, "an .npz is used as it is"
        names = [tensor.name for tensor in model.inputs]
        with TemporaryDirectory(dir=arrays.parent) as folder:
            written = _Written(plan, names, Path(folder), seed=spec.training.seed)
            told_at = time.monotonic()
            for some in _decoded(upload, plan):
                written.take(some)
                if time.monotonic() - told_at > _SECONDS_BETWEEN_SIGNS:
                    alive()
                    told_at = time.monotonic()
            written.pack(arrays)
    except RefusedFileError as error:
        raise RefusedError(error.code, error.message, hint=error.hint) from error


def _decoded(upload: Path, plan: Decoding) -> Iterator[Decoded]:
    # Not earlier: the decoder of one kind is enough, and some need TensorFlow.
    match plan.arrays.kind:
        case "csv":
            from worker.decoders.table import decoded  # noqa: PLC0415

            return decoded(upload, plan)
        case "tfrecord":
            from worker.decoders.records import decoded  # noqa: PLC0415

            return decoded(upload, plan)
        case "images":
            from worker.decoders.folders import decoded_images  # noqa: PLC0415

            return decoded_images(upload, plan)
        case "text":
            from worker.decoders.folders import decoded_texts  # noqa: PLC0415

            return decoded_texts(upload, plan)
        case "npz":
            raise changed_since()


class _Written:
    """Arrays on disk that are filled a few samples at a time."""

    def __init__(self, plan: Decoding, names: list[str], folder: Path, *, seed: int) -> None:
        counts = {
            "train": plan.arrays.train_samples,
            "val": plan.arrays.validation_samples,
            "test": plan.arrays.test_samples,
        }
        self._folder = folder
        self._reached = dict.fromkeys(counts, 0)
        self._order = _order(counts["train"], seed) if plan.reading.shuffle else None
        self._parts = {
            part: {
                name: _made(folder, name, (count, *field.shape), field)
                for name, field in array_names(part, names, plan.inputs, plan.label)
            }
            for part, count in counts.items()
            if count
        }

    def take(self, some: Decoded) -> None:
        """Write the samples that follow those before."""
        start = self._reached[some.part]
        count = len(some.inputs[0])
        targets = self._parts[some.part].values()
        values = [*some.inputs, *([] if some.labels is None else [some.labels])]
        places: NDArray[np.intp] | slice = slice(start, start + count)
        if some.part == "train" and self._order is not None:
            places = self._order[places]
        for target, these in zip(targets, values, strict=True):
            target[places] = these
        self._reached[some.part] = start + count

    def pack(self, arrays: Path) -> None:
        """Put everything into one file, without compression."""
        for part, targets in self._parts.items():
            if any(self._reached[part] != len(target) for target in targets.values()):
                raise changed_since()
        with zipfile.ZipFile(arrays, "w", zipfile.ZIP_STORED) as archive:
            for targets in self._parts.values():
                for name in list(targets):
                    targets.pop(name).flush()
                    path = _path(self._folder, name)
                    archive.write(path, f"{name}.npy")
                    path.unlink()


def _order(samples: int, seed: int) -> NDArray[np.intp]:
    """Return the place that each sample of the file gets."""
    return np.random.default_rng((seed, samples)).permutation(samples)


def _made(folder: Path, name: str, shape: tuple[int, ...], field: Field) -> np.memmap[Any, Any]:
    return npy.open_memmap(_path(folder, name), mode="w+", dtype=np.dtype(field.dtype), shape=shape)


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name.replace('/', '.')}.npy"
