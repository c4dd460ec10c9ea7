"""The models that are measured."""

from __future__ import annotations

import keras
from keras import layers


def mnist_cnn() -> keras.Model:
    """Return the MNIST CNN of 3,274,634 parameters, 13.1 MB in float32, untrained."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(1024, activation="relu"),
            layers.Dropout(0.4),
            layers.Dense(10, activation="softmax"),
        ],
        name="mnist_cnn",
    )


def imdb_lstm() -> keras.Model:
    """Return the LSTM for film reviews of 200 tokens, of 673,217 parameters, untrained."""
    return keras.Sequential(
        [
            keras.Input((200,), dtype="int32"),
            layers.Embedding(10_000, 64),
            layers.LSTM(64),
            layers.Dense(1, activation="sigmoid"),
        ],
        name="imdb_lstm",
    )


def mnist_batch_norm() -> keras.Model:
    """Return a CNN of 59,594 parameters for MNIST with batch normalisation, untrained."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Rescaling(1 / 255),
            *_normalised(layers.Conv2D(32, 3, strides=2, use_bias=False)),
            *_normalised(layers.Conv2D(64, 3, strides=2, use_bias=False)),
            layers.Flatten(),
            *_normalised(layers.Dense(16, use_bias=False)),
            layers.Dense(10, activation="softmax"),
        ],
        name="mnist_batch_norm",
    )


def mobilenet() -> keras.Model:
    """Return MobileNetV1 for ImageNet, of 4,253,864 parameters, untrained."""
    return keras.applications.MobileNet(weights=None)


def _normalised(layer: keras.layers.Layer) -> tuple[keras.layers.Layer, ...]:
    return layer, layers.BatchNormalization(), layers.ReLU()


def small_cnn(size: int) -> keras.Model:
    """Return the small CNN of the published pruning examples, untrained and compiled.

    Args:
        size: Height and width of its images, of one channel.
    """
    model = keras.Sequential(
        [
            keras.Input((size, size, 1)),
            layers.Conv2D(12, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ],
        name="small_cnn",
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
