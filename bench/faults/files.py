"""The model and the samples of every job: ``python -m bench.faults.files FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np

_SAMPLES = 256
_FEATURES = 16
_CLASSES = 4


def main(folder: Path) -> None:
    """Write both; what a training of it keeps is of every sort that a checkpoint has to hold."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((_FEATURES,)),
            layers.Dense(64, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.2),
            layers.Dense(_CLASSES, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.save(folder / "model.keras")
    x = np.random.default_rng(0).normal(size=(_SAMPLES, _FEATURES)).astype(np.float32)
    y = x[:, :_CLASSES].argmax(axis=1)
    np.savez(folder / "samples.npz", x_train=x, y_train=y, x_test=x, y_test=y)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
