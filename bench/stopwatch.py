"""How training steps are timed; the same code on both sides, so it imports no Keras.

``keras`` is the module that a side trains with: Keras 3 here, ``tf_keras`` at the peer's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FREQUENCY = 100  #: Steps between two mask updates.
INITIAL_SPARSITY, SPARSITY = 0.5, 0.8

_WARM_UP = 10  #: Steps of each ``fit`` that do not count.
_STEPS = _WARM_UP + FREQUENCY


@dataclass(frozen=True)
class Network:
    """What is trained, on what."""

    name: str
    image_shape: tuple[int, int, int]
    batch_size: int
    epochs: int  #: Of the whole fine-tuning.

    def build(self, keras: Any) -> Any:
        """Return the network, untrained."""
        if self.name == "mobilenet":
            return keras.applications.MobileNet(
                input_shape=self.image_shape, alpha=0.25, weights=None, classes=10
            )
        layers = keras.layers
        body = {
            "mnist_cnn": [
                layers.Conv2D(32, 5, padding="same", activation="relu"),
                layers.MaxPooling2D(),
                layers.Conv2D(64, 5, padding="same", activation="relu"),
                layers.MaxPooling2D(),
                layers.Flatten(),
                layers.Dense(1024, activation="relu"),
                layers.Dropout(0.4),
            ],
            "small_cnn": [
                layers.Conv2D(12, 3, activation="relu"),
                layers.MaxPooling2D(),
                layers.Flatten(),
            ],
        }
        return keras.Sequential(
            [
                keras.Input(self.image_shape),
                *body[self.name],
                layers.Dense(10, activation="softmax"),
            ]
        )

    def steps(self, images: NDArray[Any]) -> int:
        """Steps of the whole fine-tuning."""
        return self.epochs * -(-len(images) // self.batch_size)

    def data(self, folder: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return images in [0, 1] and labels: MNIST, or noise where it has not the shape."""
        if self.image_shape == (28, 28, 1):
            with np.load(folder / "mnist.npz") as arrays:
                images = arrays["x_train"][..., None].astype(np.float32) / 255
                return images, arrays["y_train"].astype(np.int64)
        rng = np.random.default_rng(0)
        count = _STEPS * self.batch_size
        return rng.random((count, *self.image_shape), np.float32), rng.integers(10, size=count)


NETWORKS = {
    network.name: network
    for network in (
        Network("mnist_cnn", (28, 28, 1), batch_size=128, epochs=2),
        Network("small_cnn", (28, 28, 1), batch_size=128, epochs=2),
        Network("mobilenet", (96, 96, 3), batch_size=32, epochs=4),
    )
}


def compiled(keras: Any, model: Any) -> Any:
    """Return ``model``, compiled as every model here is."""
    model.compile(keras.optimizers.Adam(), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class Stopwatch:
    """A compiled model, and how long its training steps take.

    Args:
        keras: See above.
        network: What the model is.
        model: Compiled.
        callbacks: Those that it is trained with.
    """

    def __init__(
        self,
        keras: Any,
        network: Network,
        model: Any,
        *,
        callbacks: Sequence[Any] = (),
    ) -> None:
        ends: list[float] = []

        class Ends(keras.callbacks.Callback):
            """Notes when a step is over, and what the other callbacks do after it."""

            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                del batch, logs
                ends.append(time.perf_counter())

        self._model = model
        self._batch_size = network.batch_size
        self._callbacks = [*callbacks, Ends()]
        self._ends = ends
        self._done = 0

    def time(self, images: NDArray[Any], labels: NDArray[Any]) -> tuple[float, float]:
        """Train for a while.

        Returns:
            Seconds of ``FREQUENCY`` steps, one after the other, of which one has the mask update;
            by how many seconds that one took longer than the median of the others.
        """
        count = _STEPS * self._batch_size
        self._ends.clear()
        self._model.fit(
            images[:count],
            labels[:count],
            batch_size=self._batch_size,
            shuffle=False,
            verbose=0,
            callbacks=self._callbacks,
        )
        steps = np.diff(self._ends)[_WARM_UP - 1 :]
        # On both sides it falls in the steps that FREQUENCY divides, the first being step 1.
        with_update = -(self._done + _WARM_UP + 1) % FREQUENCY
        self._done += _STEPS
        return float(steps.sum()), float(steps[with_update] - np.median(steps))
