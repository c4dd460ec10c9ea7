"""A small network trained on real handwritten digits, for the demonstration and the tests.

``python -m worker.demo_model FOLDER`` leaves ``digits.keras`` (as ``fit`` and ``save`` leave it,
optimizer included) and ``digits.npz`` in ``FOLDER``. The images are the 1,797 of the UCI optical
recognition data set that scikit-learn carries: 8x8 pixels, grey levels 0 to 16.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from sklearn.datasets import load_digits

_TEST_SAMPLES = 360
_SEED = 7


def write_digits(path: Path) -> None:
    """Write the images to ``path``, shuffled once and split into training and test."""
    digits: Any = load_digits()
    order = np.random.default_rng(_SEED).permutation(len(digits.target))
    x = digits.images[order, :, :, np.newaxis].astype("uint8")
    y = digits.target[order].astype("uint8")
    np.savez_compressed(
        path,
        x_train=x[_TEST_SAMPLES:],
        y_train=y[_TEST_SAMPLES:],
        x_test=x[:_TEST_SAMPLES],
        y_test=y[:_TEST_SAMPLES],
    )


def build_network() -> keras.Model:
    """Return a compiled convolutional network of 283,000 weights."""
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Rescaling(1 / 16),
            layers.Conv2D(32, 3, padding="same", activation="relu", name="conv1"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu", name="conv2"),
            layers.Flatten(),
            layers.Dense(256, activation="relu", name="hidden"),
            layers.Dropout(0.4),
            layers.Dense(10, activation="softmax", name="predictions"),
        ],
        name="digits",
    )
    network.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return network


def main(folder: Path, *, epochs: int = 12) -> None:
    """Train the network and leave it and its data in ``folder``."""
    keras.utils.set_random_seed(_SEED)
    write_digits(folder / "digits.npz")
    with np.load(folder / "digits.npz") as data:
        x, y = data["x_train"].astype("float32"), data["y_train"]
    network: Any = build_network()
    network.fit(x, y, batch_size=32, epochs=epochs, verbose=0)
    network.save(folder / "digits.keras")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
