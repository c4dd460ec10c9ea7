"""How much faster a pruned file is, in every format, than the same network with no weight zero.

``python -m bench.latency`` prunes networks to 90 %, by filters to 50 %, as they are made (time
depends on shapes and on where the zeros are, not on values), and writes each in every format
beside its dense twin, as a job does. A row is one format of one network on one thread: the median
of one prediction of one sample, the distance between its quartiles, and how many times as fast as
the dense twin in the same format, and as the dense network in LiteRT float32; two at a time, in
turns.

=======================  =========================================  ===============
network                  layers                                     pruned in
=======================  =========================================  ===============
dense_unstructured       3 x Dense 2048, 50 MB                      single weights
dense_block_4_1          the same                                   blocks of (4, 1)
dense_block_4_1_small    3 x Dense 1024, 13 MB                      blocks of (4, 1)
dense_block_4_1_large    3 x Dense 3072, 113 MB                     blocks of (4, 1)
conv_1x1_unstructured    a 3x3 convolution with stride 2, 6 of 1x1  single weights
conv_1x1                 the same                                   filters
mnist_cnn_block_4_1      the 12 MB CNN for MNIST                    blocks of (4, 1)
mnist_cnn                the same                                   filters
=======================  =========================================  ===============

TensorFlow does not choose threads by file, so ``keras`` and ``saved_model`` are left out.

The last line is JSON: for each network, how many times as fast ``litert_sparse``, by filters
``litert``, is as the dense one in float32. The aims are 3 for ``dense_block_4_1`` and 1.4 for
``conv_1x1``. A dense network that the processor's cache holds gains less by being small: so the
small one is measured too. Single weights of 1x1 convolutions gain nothing on x86 with AVX, where
XNNPACK has no sparse convolutions (its issue 3170).
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
from keras import layers

import pruning_core as pc
from app.jobs.formats import ArtifactFormat
from app.jobs.result import Latency
from bench.models import mnist_cnn
from worker.data import Array
from worker.dense import fill_zeros
from worker.formats.graph import Source, inputs_of
from worker.formats.table import FORMATS
from worker.latency import race

_SPARSITY, _SPARSITY_OF_FILTERS = 0.9, 0.5
_FORMATS: tuple[ArtifactFormat, ...] = (
    "litert",
    "litert_fp16",
    "litert_int8",
    "litert_sparse",
    "onnx",
)


@dataclass(frozen=True)
class Case:
    """A network, and in which units it is pruned."""

    make: Callable[[], keras.Model]
    granularity: pc.Granularity


def perceptron(units: int) -> keras.Model:
    """Return three layers of so many units, untrained."""
    hidden = [layers.Dense(units, activation="relu") for _ in range(3)]
    return keras.Sequential([keras.Input((units,)), *hidden, layers.Dense(10, "softmax")])


def pointwise() -> keras.Model:
    """Return a network of 1x1 convolutions, untrained.

    Padded apart and pooled at the end, as LiteRT's sparse convolutions need what is around them.
    """
    stem = [layers.ZeroPadding2D(1), layers.Conv2D(32, 3, strides=2, activation="relu")]
    convolutions = [layers.Conv2D(128, 1, activation="relu") for _ in range(6)]
    pooled = layers.GlobalAveragePooling2D(keepdims=True)
    return keras.Sequential([keras.Input((64, 64, 3)), *stem, *convolutions, pooled])


CASES = {
    "dense_unstructured": Case(lambda: perceptron(2048), pc.Unstructured()),
    "dense_block_4_1": Case(lambda: perceptron(2048), pc.Block(block_size=(4, 1))),
    "dense_block_4_1_small": Case(lambda: perceptron(1024), pc.Block(block_size=(4, 1))),
    "dense_block_4_1_large": Case(lambda: perceptron(3072), pc.Block(block_size=(4, 1))),
    "conv_1x1_unstructured": Case(pointwise, pc.Unstructured()),
    "conv_1x1": Case(pointwise, pc.Channel()),
    "mnist_cnn_block_4_1": Case(mnist_cnn, pc.Block(block_size=(4, 1))),
    "mnist_cnn": Case(mnist_cnn, pc.Channel()),
}


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=CASES, default=list(CASES))
    networks = parser.parse_args().networks
    print(
        f"{'network':<23}{'format':<15}{'bytes':>11}{'ms':>9}{'spread':>9}"
        f"{'dense ms':>10}{'/ dense':>9}{'/ float32':>11}"
    )
    ratios = {name: _measured(name, CASES[name]) for name in networks}
    print(json.dumps(ratios))


def _measured(name: str, case: Case) -> float:
    """Print the rows of a network; return how much faster the file is that is meant for it."""
    keras.utils.set_random_seed(0)
    by_filters = isinstance(case.granularity, pc.Channel)
    sparsity = _SPARSITY_OF_FILTERS if by_filters else _SPARSITY
    config = pc.PruningConfig(
        schedule=pc.PolynomialDecay(final_sparsity=sparsity),
        granularity=case.granularity,
        allocation=pc.Uniform(),
    )
    pruned = _pruned(case.make(), config)
    dense = keras.models.clone_model(pruned)
    dense.set_weights(pruned.get_weights())
    fill_zeros(dense)
    generator = np.random.default_rng(0)
    sample: dict[str, Array] = {
        port.name: generator.random(
            [1 if size is None else size for size in port.shape], np.float32
        )
        for port in inputs_of(pruned)
    }
    with TemporaryDirectory() as folder:
        samples = tuple(sample.values())
        sources = tuple(
            dataclasses.replace(
                Source.of(model, config, Path(folder, twin), samples),
                is_compacted=by_filters and model is pruned,
            )
            for twin, model in (("pruned", pruned), ("dense", dense))
        )
        files = {form: Files.write(form, sources) for form in _FORMATS}
        ratios = {
            form: _raced(name, form, files[form], files["litert"], sample) for form in _FORMATS
        }
    return round(ratios["litert" if by_filters else "litert_sparse"], 2)


def _pruned(model: keras.Model, config: pc.PruningConfig) -> keras.Model:
    pruning = pc.Pruning(model, config, total_steps=0)
    pruning.finish()
    return pruning.strip()


@dataclass(frozen=True)
class Files:
    """A network in one format, pruned and dense."""

    pruned: Path
    dense: Path

    @classmethod
    def write(cls, form: ArtifactFormat, sources: Sequence[Source]) -> Files:
        """Write both."""
        paths = [source.folder.with_name(f"{source.folder.name}.{form}") for source in sources]
        for source, path in zip(sources, paths, strict=True):
            FORMATS[form].write(source, path)
        return cls(*paths)


def _raced(
    name: str, form: ArtifactFormat, files: Files, float32: Files, sample: Mapping[str, Array]
) -> float:
    """Print a row; return how many times as fast as the dense network in float32 the file is."""
    pruned = functools.partial(FORMATS[form].open(files.pruned, 1).answer, sample)
    twin = functools.partial(FORMATS[form].open(files.dense, 1).answer, sample)
    dense = functools.partial(FORMATS["litert"].open(float32.dense, 1).answer, sample)
    beside_twin, beside_float32 = (race(pruned, other, threads=1) for other in (twin, dense))
    ratio = _ratio(beside_float32)
    timing = beside_twin.pruned
    print(
        f"{name:<23}{form:<15}{files.pruned.stat().st_size:>11,}{timing.median_ms:>9.3f}"
        f"{timing.spread_ms:>9.3f}{beside_twin.dense.median_ms:>10.3f}"
        f"{_ratio(beside_twin):>9.2f}{ratio:>11.2f}",
        flush=True,
    )
    return ratio


def _ratio(latency: Latency) -> float:
    return latency.dense.median_ms / latency.pruned.median_ms


if __name__ == "__main__":
    main()
