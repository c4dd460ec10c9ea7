"""The networks of the published tables, through the service; how much memory the runners take.

``python -m bench.published`` starts the service, uploads each network as Keras makes it, with
random weights and a few random samples, and has it pruned to each published sparsity in five steps
of training; accuracies are not what this is about. Then once more without data, at the first.

===============  ==============================  ===========================
network          sparsities                      weights
===============  ==============================  ===========================
inception_v3     0.5, 0.75, 0.875, 2 of 4        23.9 M
mobilenet        0.5, 0.75, 0.9, 0.95, 2 of 4    4.3 M
mobilenet_v2     0.5, 0.75, 0.85, 2 of 4         3.5 M
ds_cnn_large     0.5, 0.8, 2 of 4                0.5 M
gnmt             0.8, 0.85, 0.9                  206.7 M, 827 MB in float32
===============  ==============================  ===========================

``memory`` is the most that one process of the job ever held, mapped libraries and all, as a
multiple of the uploaded weights; the aim for ``gnmt`` is 6, and of a small network it tells how
large TensorFlow is. Where a format is not published, its bytes are null, and the reason is printed.

``--networks``, ``--sparsities`` and ``--formats`` choose a part. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from app.jobs.formats import FILE_NAMES
from app.local import running_service
from bench import models
from espalier import Client
from espalier.records import JobState

SPARSITIES = {
    "inception_v3": ("0.5", "0.75", "0.875", "2:4"),
    "mobilenet": ("0.5", "0.75", "0.9", "0.95", "2:4"),
    "mobilenet_v2": ("0.5", "0.75", "0.85", "2:4"),
    "ds_cnn_large": ("0.5", "0.8", "2:4"),
    "gnmt": ("0.8", "0.85", "0.9"),
}
_FORMATS = ("keras", "litert_int8", "weights")
_BATCH_SIZE = 4
_SAMPLES = 20  # of which 18 are trained on, in five steps
_SECONDS_BETWEEN_LOOKS = 0.2


def main() -> None:
    """Prune, and print the table."""
    arguments = _arguments()
    figures: dict[str, dict[str, dict[str, Any]]] = {}
    with (
        TemporaryDirectory(prefix="espalier-") as name,
        running_service(Path(name)) as address,
        Client(address) as client,
    ):
        bench = Bench(client, Path(name), arguments.formats)
        for network in arguments.networks:
            files = bench.write(network)
            for run in _runs(network, arguments.sparsities):
                row = bench.row(files, run)
                _show(network, run, row)
                figures.setdefault(network, {})[run.name] = row
    print(json.dumps(figures))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every_sparsity = sorted({each for several in SPARSITIES.values() for each in several})
    parser.add_argument("--networks", nargs="+", choices=SPARSITIES, default=list(SPARSITIES))
    parser.add_argument("--sparsities", nargs="+", choices=every_sparsity, default=every_sparsity)
    parser.add_argument("--formats", nargs="+", choices=FILE_NAMES, default=_FORMATS)
    return parser.parse_args()


@dataclass(frozen=True)
class Run:
    """One way to prune a network."""

    sparsity: str  #: A fraction, or ``zeros:group``.
    has_data: bool

    @property
    def name(self) -> str:
        """What its row is called."""
        return self.sparsity if self.has_data else f"{self.sparsity} without data"

    @property
    def spec(self) -> dict[str, Any]:
        """What the service is asked for, but for the formats."""
        training = {"epochs": 1, "batch_size": _BATCH_SIZE}
        if ":" not in self.sparsity:
            schedule = {"kind": "polynomial_decay", "final_sparsity": float(self.sparsity)}
            return {"schedule": schedule, "training": training}
        zeros, group = map(int, self.sparsity.split(":"))
        return {
            "granularity": {"kind": "n_of_m", "zeros": zeros, "group": group},
            "training": training,
        }


def _runs(network: str, sparsities: Sequence[str]) -> list[Run]:
    chosen = [sparsity for sparsity in SPARSITIES[network] if sparsity in sparsities]
    return [
        *(Run(sparsity, has_data=True) for sparsity in chosen),
        *(Run(sparsity, has_data=False) for sparsity in chosen[:1]),
    ]


@dataclass(frozen=True)
class Files:
    """What is uploaded."""

    model: Path
    data: Path


@dataclass(frozen=True)
class Bench:
    """A service, and what is asked of it."""

    client: Client
    folder: Path  #: Of the service; what is uploaded lies in it, too.
    formats: Sequence[str]

    def write(self, network: str) -> Files:
        """Write a network and random samples of what it takes and gives."""
        keras.utils.set_random_seed(0)
        model = getattr(models, network)()
        files = Files(self.folder / f"{network}.keras", self.folder / f"{network}.npz")
        model.save(files.model)
        np.savez(files.data, allow_pickle=False, **_samples(model))
        return files

    def row(self, files: Files, run: Run) -> dict[str, Any]:
        """Prune; return what came of it."""
        spec = run.spec | {"artifacts": list(self.formats)}
        started = time.monotonic()
        with runners_watched(self.folder) as memory:
            data = files.data if run.has_data else None
            job = self.client.prune(files.model, data, spec)
            state = job.wait()
        row = _figures(state, self.formats, peak_bytes=memory.peak_bytes)
        job.delete()
        return row | {
            "seconds": round(time.monotonic() - started),
            "not_published": [
                notice.message
                for notice in state.warnings
                if notice.code == "artifact_not_published"
            ],
        }


def _samples(model: keras.Model) -> dict[str, NDArray[Any]]:
    """Return random inputs by name, and for each sample as many random classes as there are."""
    generator = np.random.default_rng(0)
    is_alone = len(model.inputs) == 1
    arrays: dict[str, NDArray[Any]] = {
        "x_train" if is_alone else f"x_train/{tensor.name}": generator.integers(
            0, 256, (_SAMPLES, *tensor.shape[1:]), np.uint8
        )
        for tensor in model.inputs
    }
    *places, classes = model.outputs[0].shape[1:]
    return arrays | {"y_train": generator.integers(0, classes, (_SAMPLES, *places), np.int32)}


def _figures(state: JobState, formats: Sequence[str], *, peak_bytes: int) -> dict[str, Any]:
    result = state.result
    assert result is not None, "the job has succeeded"
    published: Mapping[str, int] = {each.format: each.bytes for each in result.artifacts}
    return {
        "sparsity": round(result.sparsity, 6),
        "memory_over_model": round(peak_bytes / result.uploaded.bytes_without_optimizer, 2),
        "bytes": {form: published.get(form) for form in formats},
    }


@dataclass
class Memory:
    """What the runners of a service have held."""

    peak_bytes: int = 0  #: The most that any one of them ever held.


@contextmanager
def runners_watched(folder: Path) -> Generator[Memory]:
    """Watch the runners of the service that keeps its files in ``folder``, while a ``with`` lasts.

    The kernel notes the peak of each, so that none is missed between two looks but what a runner
    takes in its last fraction of a second.
    """
    memory = Memory()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_SECONDS_BETWEEN_LOOKS):
            memory.peak_bytes = max(memory.peak_bytes, *map(_peak_bytes, _runners(folder)), 0)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield memory
    finally:
        ended.set()
        thread.join()


def _runners(folder: Path) -> list[Path]:
    """Return the processes, as folders in ``/proc``, that work in a folder of a runner."""
    found: list[Path] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            place = (process / "cwd").readlink()
        except OSError:  # It has ended, or is somebody else's.
            continue
        if place.is_relative_to(folder / "work"):
            found.append(process)
    return found


def _peak_bytes(process: Path) -> int:
    try:
        status = (process / "status").read_text()
    except OSError:
        return 0
    return sum(
        int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")
    )


def _show(network: str, run: Run, row: Mapping[str, Any]) -> None:
    sizes = "".join(
        f"{form:>14} {'-' if size is None else format(size, ',')}"
        for form, size in row["bytes"].items()
    )
    print(
        f"{network:<14}{run.name:<18}{row['sparsity']:>9.4%}{row['memory_over_model']:>9.2f} "
        f"of the model{row['seconds']:>7} s{sizes}",
        *row["not_published"],
        sep="\n    ",
        flush=True,
    )


if __name__ == "__main__":
    main()
