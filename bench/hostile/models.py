"""Valid models of many kinds, with data for each: ``python -m bench.hostile.models FOLDER``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

layers = keras.layers

_SAMPLES = 64
_CLASSES = 4


def main(folder: Path) -> None:
    """Write a model and its data for each kind, some of them in the older format."""
    keras.utils.set_random_seed(0)
    for make in _KINDS:
        name = make.__name__.strip("_")
        model = make()
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.save(folder / f"{name}.{'h5' if make in _AS_H5 else 'keras'}")
        np.savez(folder / f"{name}.npz", **_data(model))


def _data(model: keras.Model) -> dict[str, Any]:
    chance = np.random.default_rng(0)
    labels = chance.integers(0, _CLASSES, _SAMPLES)
    data: dict[str, Any] = {"y_train": labels, "y_test": labels}
    for tensor in model.inputs:
        shape = (_SAMPLES, *tensor.shape[1:])
        for part in ("train", "test"):
            name = f"x_{part}" if len(model.inputs) == 1 else f"x_{part}/{tensor.name}"
            data[name] = _samples(chance, shape, tensor.name)
    return data


def _samples(chance: np.random.Generator, shape: tuple[int, ...], name: str) -> Any:
    return chance.integers(0, 30, shape) if name == "words" else chance.random(shape, "float32")


def _end(tensor: Any) -> Any:
    return layers.Dense(_CLASSES, activation="softmax")(tensor)


def _convolutional() -> keras.Model:
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu")(layers.Rescaling(1 / 255)(image))
    x = layers.BatchNormalization()(layers.MaxPooling2D()(x))
    return keras.Model(image, _end(layers.Flatten()(layers.Dropout(0.2)(x))))


def _residual() -> keras.Model:
    start = keras.Input((8,))
    x = layers.Dense(8, activation="gelu")(start)
    return keras.Model(start, _end(keras.ops.relu(layers.Add()([x, start]) * 2.0 + 1.0)))


def _recurrent() -> keras.Model:
    words = keras.Input((6,), name="words")
    x = layers.LSTM(4, return_sequences=True)(layers.Embedding(30, 8)(words))
    return keras.Model(words, _end(layers.Bidirectional(layers.GRU(3))(x)))


def _attention() -> keras.Model:
    rows = keras.Input((6, 4))
    x = layers.LayerNormalization()(layers.MultiHeadAttention(2, 3)(rows, rows))
    return keras.Model(rows, _end(layers.GlobalAveragePooling1D()(x)))


def _two_inputs() -> keras.Model:
    left, right = keras.Input((4,), name="left"), keras.Input((3,), name="right")
    joined = layers.Concatenate()([layers.Dense(5)(left), layers.Dense(5)(right)])
    return keras.Model([left, right], _end(joined))


def _nested() -> keras.Model:
    inner = keras.Sequential([keras.Input((8,)), layers.Dense(6), layers.Dense(6)], name="inner")
    start = keras.Input((8,))
    return keras.Model(start, _end(inner(start)))


def _separable() -> keras.Model:
    image = keras.Input((8, 8, 2))
    x = layers.SeparableConv2D(4, 3)(layers.DepthwiseConv2D(3)(image))
    x = layers.PReLU()(layers.Conv2DTranspose(3, 2)(x))
    return keras.Model(image, _end(layers.GlobalMaxPooling2D()(x)))


def _sequence() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((10, 3)),
            layers.Conv1D(4, 3, kernel_regularizer="l2", kernel_constraint="max_norm"),
            layers.TimeDistributed(layers.Dense(5)),
            layers.GroupNormalization(5),
            layers.Flatten(),
            layers.Dense(_CLASSES, activation="softmax"),
        ]
    )


_KINDS: tuple[Callable[[], keras.Model], ...] = (
    _convolutional,
    _residual,
    _recurrent,
    _attention,
    _two_inputs,
    _nested,
    _separable,
    _sequence,
)
_AS_H5 = {_recurrent, _nested}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
