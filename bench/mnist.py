"""What 90 % costs on MNIST: two epochs dense, then two more with the pruning schedule.

The same network trained densely for four epochs stands beside it, because the pruned one has
seen as much data; and the same pruned by whole filters, which are then taken out. Run from the
repository: ``python -m bench.mnist --data FOLDER``; the folder holds ``mnist.npz`` and is
``ESPALIER_BENCH_DATA``, or ``../shared/data``, when left out.

The last line is JSON; ``points_lost`` is in percentage points of test accuracy against the dense
network of two epochs, at most 0.2; ``points_lost_by_filters`` by the share of filters that went.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

import pruning_core as pc
from bench.data import add_data_folder
from bench.models import mnist_cnn

EPOCHS = 2
BATCH_SIZE = 128
SPARSITY = 0.9
SHARES_OF_FILTERS = (0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Data:
    """MNIST, split as it is published."""

    x_train: NDArray[np.uint8]
    y_train: NDArray[np.uint8]
    x_test: NDArray[np.uint8]
    y_test: NDArray[np.uint8]


@dataclass(frozen=True)
class Row:
    """One model, measured."""

    name: str
    accuracy: float
    sparsity: float
    file_bytes: int
    seconds: float


def main() -> None:
    """Train, prune, measure, print."""
    data = _load(_arguments().data)
    keras.utils.set_random_seed(0)
    model = mnist_cnn()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    rows = [_measured(f"dense, {EPOCHS} epochs", model, data, _fit(model, data))]
    pruned, seconds = _pruned(model, data, pc.Unstructured(), SPARSITY)
    rows.append(_measured(f"pruned, {EPOCHS} epochs more", pruned.model, data, seconds))
    for share in SHARES_OF_FILTERS:
        by_filters, seconds = _pruned(model, data, pc.Channel(), share)
        compact = pc.compact(by_filters.model)
        rows.append(_measured(f"without {share:.0%} of filters", compact, data, seconds))
    rows.append(_measured(f"dense, {EPOCHS} epochs more", model, data, _fit(model, data)))
    _print(rows, pruned.report)


def _pruned(
    model: keras.Model, data: Data, granularity: pc.Granularity, sparsity: float
) -> tuple[pc.Pruned, float]:
    """Return ``model`` pruned, and the seconds that it took."""
    started = time.perf_counter()
    pruned = pc.prune(
        model,
        data.x_train,
        data.y_train,
        config=pc.PruningConfig(
            schedule=pc.PolynomialDecay(final_sparsity=sparsity), granularity=granularity
        ),
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        verbose=0,
    )
    return pruned, time.perf_counter() - started


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_data_folder(parser)
    return parser.parse_args()


def _load(folder: Path) -> Data:
    with np.load(folder / "mnist.npz") as arrays:
        return Data(
            x_train=arrays["x_train"][..., None],
            y_train=arrays["y_train"],
            x_test=arrays["x_test"][..., None],
            y_test=arrays["y_test"],
        )


def _fit(model: keras.Model, data: Data) -> float:
    started = time.perf_counter()
    model.fit(data.x_train, data.y_train, epochs=EPOCHS, batch_size=BATCH_SIZE, verbose=0)
    return time.perf_counter() - started


def _measured(name: str, model: keras.Model, data: Data, seconds: float) -> Row:
    """Measure ``model`` by the file that ``save`` writes of it, opened again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        pc.save(model, path)
        opened = keras.saving.load_model(path)
        outputs = opened.predict(data.x_test, batch_size=1024, verbose=0)
        correct: NDArray[np.bool_] = outputs.argmax(axis=-1) == data.y_test
        return Row(
            name=name,
            accuracy=float(correct.mean()),
            sparsity=pc.report(opened).sparsity,
            file_bytes=path.stat().st_size,
            seconds=seconds,
        )


def _print(rows: list[Row], report: pc.SparsityReport) -> None:
    dense, pruned, *without_filters, _ = rows
    print(report)
    print()
    print(f"{'':24}{'accuracy':>10}{'sparsity':>10}{'bytes':>12}{'of dense':>10}{'seconds':>9}")
    for row in rows:
        print(
            f"{row.name:24}{row.accuracy:10.2%}{row.sparsity:10.2%}{row.file_bytes:12,}"
            f"{row.file_bytes / dense.file_bytes:10.3f}{row.seconds:9.1f}"
        )
    figures = {
        "points_lost": round(100 * (dense.accuracy - pruned.accuracy), 2),
        "sparsity": pruned.sparsity,
        "bytes_over_dense": round(pruned.file_bytes / dense.file_bytes, 3),
        "points_lost_by_filters": {
            share: round(100 * (dense.accuracy - row.accuracy), 2)
            for share, row in zip(SHARES_OF_FILTERS, without_filters, strict=True)
        },
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
