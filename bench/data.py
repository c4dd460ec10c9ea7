"""The data that is trained on, and how; for this side of ``bench`` and for the peer's alike."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def add_data_folder(parser: argparse.ArgumentParser) -> None:
    """Let it be said where the data is."""
    default = os.environ.get("ESPALIER_BENCH_DATA", "../shared/data")
    parser.add_argument(
        "--data", type=Path, default=Path(default), help="folder of mnist.npz and imdb.npz"
    )


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs and labels, split as they are published; equal to nothing but themselves."""

    x_train: NDArray[Any]
    y_train: NDArray[Any]
    x_test: NDArray[Any]
    y_test: NDArray[Any]


@dataclass(frozen=True)
class Task:
    """What a model is trained for, and by what; the model of that name is in ``models``."""

    load: Callable[[Path], Samples]
    loss: str
    batch_size: int
    epochs: int  #: Of the dense training, and once more of the fine-tuning.

    def steps(self, samples: Samples) -> int:
        """Optimizer steps of one training."""
        return self.epochs * -(-len(samples.x_train) // self.batch_size)


def mnist(folder: Path) -> Samples:
    """Return MNIST from ``mnist.npz``; images ``(28, 28, 1)`` of bytes."""
    with np.load(folder / "mnist.npz") as arrays:
        return Samples(
            x_train=arrays["x_train"][..., None],
            y_train=arrays["y_train"],
            x_test=arrays["x_test"][..., None],
            y_test=arrays["y_test"],
        )


def imdb(folder: Path) -> Samples:
    """Return the film reviews of ``imdb.npz``; 200 tokens below 10,000, padded in front."""
    with np.load(folder / "imdb.npz") as arrays:
        return Samples(
            x_train=_padded_in_front(arrays["x_train"]),
            y_train=arrays["y_train"],
            x_test=_padded_in_front(arrays["x_test"]),
            y_test=arrays["y_test"],
        )


def _padded_in_front(tokens: NDArray[np.uint16]) -> NDArray[np.int32]:
    """Move the zeros of each row to its front: an LSTM forgets a review that ends in padding."""
    order = np.argsort(tokens != 0, axis=1, kind="stable")
    return np.take_along_axis(tokens, order, axis=1).astype(np.int32)


TASKS = {
    "mnist_cnn": Task(mnist, "sparse_categorical_crossentropy", batch_size=128, epochs=2),
    "mnist_batch_norm": Task(mnist, "sparse_categorical_crossentropy", batch_size=128, epochs=2),
    "imdb_lstm": Task(imdb, "binary_crossentropy", batch_size=64, epochs=2),
}
