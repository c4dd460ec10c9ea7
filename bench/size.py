"""How small the files are, against TFMOT's and against what there is to say.

``python -m bench.size --keep FOLDER`` takes the 12 MB MNIST CNN and the IMDB LSTM, trained, and
MobileNetV1 (224x224, 1,000 classes) with normal weights, prunes each to 0.8, 0.9, 0.95 and 2 of 4,
and writes every format. Masks are chosen at once, but for the MNIST CNN at 0.9, which is fine-tuned
for two epochs, since its accuracy is told too. The same weights go to TFMOT's side, in its own
environment, which makes of them what its tutorials do (``bench.peer.size``): HDF5 without
optimizer, and int8 by TensorFlow Lite, both under ``gzip -9``.

``bytes`` is the file; ``packed`` the smallest of its forms under gzip, zstd and xz, where it is not
packed inside; ``predicted`` what the preflight said of it. What a peer has is held against that;
``bound`` is the bound of ``docs/weights-format.md``, below which no file of the same numbers can
be, whoever packs it.

What was trained is kept in FOLDER, as in ``bench.accuracy``, with which it can be shared;
``--models``, ``--patterns`` and ``--formats`` choose a part. The data are in ``--data``, which is
``ESPALIER_BENCH_DATA`` or ``../shared/data`` when left out. The last line is JSON; the aims are
``keras_over_tfmot_gzip`` at most 0.86, ``litert_int8_over_tfmot_gzip`` 0.85,
``weights_over_bound`` 1.03, ``weights_int8_over_bound`` 1.06, and every prediction within 10 %.
"""

from __future__ import annotations

import argparse
import inspect
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np
from numpy.typing import NDArray

import pruning_core as pc
from app.jobs.formats import FILE_NAMES, ArtifactFormat
from app.jobs.intake.model import summarise_model
from app.jobs.plan import plan
from app.jobs.spec import JobSpec
from bench import models, peer
from bench.data import TASKS, Samples, add_data_folder
from bench.dense import Dense, accuracy_of, samples_of, task_fingerprint, trained
from bench.entropy import bound_bytes, litert_bound_bytes
from bench.kept import Kept
from worker.formats.graph import Source
from worker.formats.table import FORMATS
from worker.formats.weights import weights_of
from worker.formats.weights_reader import read_weights
from worker.formats.weights_writer import Weight
from worker.weighing import weigh

MODELS = ("mnist_cnn", "imdb_lstm", "mobilenet")
PATTERNS = ("0.8", "0.9", "0.95", "2:4")
#: Their files do not become smaller.
PACKED_INSIDE: frozenset[ArtifactFormat] = frozenset({"keras", "weights", "weights_int8"})
FINE_TUNED = ("mnist_cnn", "0.9")

#: What the preflight predicts, and every file is made of; no filters are taken out here.
ALL_FORMATS: tuple[ArtifactFormat, ...] = tuple(
    form for form in get_args(ArtifactFormat) if form != "keras_compact"
)


@dataclass(frozen=True)
class Files:
    """What was made of one pruned model, in bytes."""

    bytes: dict[ArtifactFormat, int]
    packed: dict[ArtifactFormat, int]
    predicted: dict[ArtifactFormat, int]
    bounds: dict[ArtifactFormat, float]
    tfmot: dict[ArtifactFormat, list[int]]  #: Of its files: as they are, and under gzip.
    accuracies: dict[str, float]  #: Of the dense model and of files; empty where nothing is told.


def main() -> None:
    """Prune, write, weigh, and print the tables."""
    arguments = _arguments()
    bench = Bench(Kept(arguments.keep), arguments.data.absolute(), arguments.formats)
    figures: dict[str, dict[str, dict[str, float]]] = {}
    with peer.talking_to("size") as tfmot:
        for name in arguments.models:
            for pattern in arguments.patterns:
                with tempfile.TemporaryDirectory(prefix="espalier-") as folder:
                    files = bench.files(name, pattern, Path(folder), tfmot)
                _show(f"{name} at {pattern}", files)
                figures.setdefault(name, {})[pattern] = _figures(files)
    print(json.dumps(figures))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_data_folder(parser)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--patterns", nargs="+", choices=PATTERNS, default=PATTERNS)
    parser.add_argument("--formats", nargs="+", choices=ALL_FORMATS, default=ALL_FORMATS)
    return parser.parse_args()


@dataclass(frozen=True)
class Bench:
    """Where things are."""

    kept: Kept
    data: Path  #: Folder of the data.
    formats: Sequence[ArtifactFormat]

    def files(self, name: str, pattern: str, folder: Path, tfmot: peer.Peer) -> Files:
        """Write every file of a model pruned by a pattern to ``folder``; return their sizes."""
        dense = self._dense(name)
        is_told = (name, pattern) == FINE_TUNED
        pruned = self._fine_tuned(name, pattern) if is_told else _pruned_at_once(dense, pattern)
        source = Source.of(pruned, _config(pattern), folder / "graphs", samples=None)
        paths: dict[ArtifactFormat, Path] = {
            form: folder / FILE_NAMES[form] for form in self.formats
        }
        for form, path in paths.items():
            _write(form, source, path)
        weights = list(weights_of(pruned, source.config))
        peer.save_arrays(folder / "weights.npz", pruned.get_weights())
        return Files(
            bytes={form: path.stat().st_size for form, path in paths.items()},
            packed={form: _packed_bytes(form, path) for form, path in paths.items()},
            predicted=_predicted(dense, pattern, folder / "dense.keras"),
            bounds=_bounds(weights, paths, source.config.granularity),
            tfmot=tfmot.ask({"model": name, "weights": str(folder / "weights.npz")}),
            accuracies=self._accuracies(name, dense, paths) if is_told else {},
        )

    def _dense(self, name: str) -> keras.Model:
        if name in TASKS:
            return trained(self.kept, self.data, name, seed=0).model()
        return _with_normal_weights(getattr(models, name)())

    def _fine_tuned(self, name: str, pattern: str) -> keras.Model:
        dense = trained(self.kept, self.data, name, seed=0)
        begins = (task_fingerprint(name, self.data), dense.fingerprint)
        path = self.kept.path(f"{name}-size-{pattern}", begins, inspect.getsource(_fine_tune))
        weights = path.with_suffix(".npz")
        samples = samples_of(name, self.data)
        self.kept.measured(path, lambda: _fine_tune(dense, samples, pattern, weights))
        model = dense.model()
        model.set_weights(peer.load_arrays(weights))
        return model

    def _accuracies(
        self, name: str, dense: keras.Model, paths: Mapping[ArtifactFormat, Path]
    ) -> dict[str, float]:
        samples = samples_of(name, self.data)
        accuracies = {"dense": accuracy_of(dense, samples)}
        if "keras" in paths:
            opened = keras.saving.load_model(paths["keras"])
            opened.compile(loss=TASKS[name].loss, metrics=["accuracy"])
            accuracies["keras"] = accuracy_of(opened, samples)
        if "weights_int8" in paths:
            dense.set_weights([values for _, values in read_weights(paths["weights_int8"])])
            accuracies["weights_int8"] = accuracy_of(dense, samples)
        return accuracies


def _config(pattern: str) -> pc.PruningConfig:
    """Return what prunes to ``pattern``, a sparsity or ``zeros:group``, at once."""
    if ":" in pattern:
        zeros, group = map(int, pattern.split(":"))
        granularity = pc.NOfM(zeros=zeros, group=group)
        return pc.PruningConfig(schedule=pc.OneShot(), granularity=granularity)
    return pc.PruningConfig(schedule=pc.OneShot(target_sparsity=float(pattern)))


def _pruned_at_once(dense: keras.Model, pattern: str) -> keras.Model:
    return pc.prune(dense, config=replace(_config(pattern), allocation=pc.Uniform())).model


def _fine_tune(dense: Dense, samples: Samples, pattern: str, weights: Path) -> float:
    keras.utils.set_random_seed(dense.seed)
    pruned = pc.prune(
        dense.model(),
        samples.x_train,
        samples.y_train,
        config=pc.PruningConfig(schedule=pc.PolynomialDecay(final_sparsity=float(pattern))),
        epochs=TASKS[dense.name].epochs,
        batch_size=TASKS[dense.name].batch_size,
        verbose=0,
    )
    peer.save_arrays(weights, pruned.model.get_weights())
    return accuracy_of(pruned.model, samples)


def _with_normal_weights(model: keras.Model) -> keras.Model:
    """Return ``model`` as if it had been trained: no kernel uniform, no normalisation constant."""
    generator = np.random.default_rng(0)

    def filled(values: NDArray[Any]) -> NDArray[Any]:
        if values.ndim == 1:
            return np.abs(generator.normal(0.5, 0.2, values.shape))
        return generator.normal(0, values.std(), values.shape)

    model.set_weights([filled(values) for values in model.get_weights()])
    return model


def _write(form: ArtifactFormat, source: Source, path: Path) -> None:
    if form == "keras":
        pc.save(source.load(), path)
    else:
        FORMATS[form].write(source, path)


def _bounds(
    weights: Sequence[Weight],
    paths: Mapping[ArtifactFormat, Path],
    granularity: pc.Granularity,
) -> dict[ArtifactFormat, float]:
    float32 = bound_bytes(weights, "float32")
    bounds: dict[ArtifactFormat, float] = {
        "keras": float32,
        "weights": float32,
        "weights_int8": bound_bytes(weights, "int8"),
    }
    if "litert_int8" in paths:
        bounds["litert_int8"] = litert_bound_bytes(paths["litert_int8"], granularity)
    return bounds


def _packed_bytes(form: ArtifactFormat, path: Path) -> int:
    """Return the size of the smallest form of a file; what is packed inside has only one."""
    if form in PACKED_INSIDE:
        return path.stat().st_size
    weight = weigh(path, FORMATS[form].stretches(path))
    return min([weight.bytes, *(each.bytes for each in weight.compressed)])


def _predicted(dense: keras.Model, pattern: str, path: Path) -> dict[ArtifactFormat, int]:
    """Return what the preflight says, given the dense model in a file."""
    dense.save(path)
    config = _config(pattern)
    spec = JobSpec(schedule=config.schedule, granularity=config.granularity, artifacts=ALL_FORMATS)
    planned = plan(
        spec.model_copy(update={"allocation": pc.Uniform()}), summarise_model(path), None
    )
    return {
        form: artifact.bytes for form, artifact in zip(ALL_FORMATS, planned.artifacts, strict=True)
    }


def _show(title: str, files: Files) -> None:
    print(f"\n{title:24}{'bytes':>12}{'packed':>12}{'predicted':>12}{'off':>7}  against")
    for form, size in files.bytes.items():
        predicted = files.predicted[form]
        print(
            f"{form:24}{size:12,}{files.packed[form]:12,}{predicted:12,}"
            f"{predicted / size - 1:+7.1%}  {_against(form, files)}"
        )
    for name, accuracy in files.accuracies.items():
        print(f"accuracy of {name:12}{accuracy:12.2%}")


def _against(form: ArtifactFormat, files: Files) -> str:
    words: list[str] = []
    if form in files.tfmot:
        theirs, gzipped = files.tfmot[form]
        ratio = files.packed[form] / gzipped
        words.append(f"{ratio:.3f} of TFMOT's {gzipped:,} under gzip ({theirs:,} as it is)")
        words.append(f"the bound is {files.bounds[form] / gzipped:.3f} of it")
    if form in files.bounds:
        words.append(f"{files.packed[form] / files.bounds[form]:.3f} of the bound")
    return "; ".join(words)


def _figures(files: Files) -> dict[str, float]:
    figures: dict[str, float] = {}
    for form, size in files.bytes.items():
        if form in files.tfmot:
            figures[f"{form}_over_tfmot_gzip"] = files.packed[form] / files.tfmot[form][1]
            figures[f"{form}_bound_over_tfmot_gzip"] = files.bounds[form] / files.tfmot[form][1]
        if form in files.bounds:
            figures[f"{form}_over_bound"] = files.packed[form] / files.bounds[form]
        figures[f"{form}_bytes"] = size
        figures[f"{form}_predicted_over_bytes"] = files.predicted[form] / size
    accuracies = {f"accuracy_of_{name}": value for name, value in files.accuracies.items()}
    return {name: round(value, 4) for name, value in (figures | accuracies).items()}


if __name__ == "__main__":
    main()
