"""The networks that both sides train, untrained; it imports no Keras.

``keras`` is the module that a side builds with: Keras 3 here, ``tf_keras`` at the peer's.
"""

from __future__ import annotations

from typing import Any


def mnist_cnn(keras: Any) -> Any:
    """Return the MNIST CNN of 3,274,634 parameters, 13.1 MB in float32."""
    layers = keras.layers
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


def imdb_lstm(keras: Any, *, batch_size: int | None = None) -> Any:
    """Return the LSTM for film reviews of 200 tokens, of 673,089 parameters."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((200,), batch_size=batch_size, dtype="int32"),
            layers.Embedding(10_000, 64),
            layers.LSTM(64),
            layers.Dense(1, activation="sigmoid"),
        ],
        name="imdb_lstm",
    )


def mobilenet(keras: Any) -> Any:
    """Return MobileNetV1 for ImageNet, of 4,253,864 parameters."""
    return keras.applications.MobileNet(weights=None)
