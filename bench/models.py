"""The models that are measured."""

from __future__ import annotations

import keras
from keras import layers

from bench import networks


def mnist_cnn() -> keras.Model:
    """Return the MNIST CNN of 3,274,634 parameters, 13.1 MB in float32, untrained."""
    return networks.mnist_cnn(keras)


def imdb_lstm() -> keras.Model:
    """Return the LSTM for film reviews of 200 tokens, of 673,089 parameters, untrained."""
    return networks.imdb_lstm(keras)


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
    return networks.mobilenet(keras)


def mobilenet_v2() -> keras.Model:
    """Return MobileNetV2 for ImageNet, of 3,538,984 parameters, untrained."""
    return keras.applications.MobileNetV2(weights=None)


def inception_v3() -> keras.Model:
    """Return InceptionV3 for ImageNet, of 23,851,784 parameters, untrained."""
    return keras.applications.InceptionV3(weights=None)


def ds_cnn_large() -> keras.Model:
    """Return the large network for keyword spotting, untrained.

    It takes 49 frames of 10 coefficients of a second of speech, and tells 12 words apart.

    Source: Zhang et al., 2017, "Hello Edge: Keyword Spotting on Microcontrollers", table 7.
    arXiv:1711.07128
    """
    filters = 276
    separable = [
        layer
        for stride in (2, 1, 1, 1, 1)
        for layer in (
            *_normalised(layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False)),
            *_normalised(layers.Conv2D(filters, 1, use_bias=False)),
        )
    ]
    return keras.Sequential(
        [
            keras.Input((49, 10, 1)),
            *_normalised(layers.Conv2D(filters, (10, 4), (2, 1), padding="same", use_bias=False)),
            *separable,
            layers.GlobalAveragePooling2D(),
            layers.Dense(12, activation="softmax"),
        ],
        name="ds_cnn_large",
    )


def gnmt() -> keras.Model:
    """Return a translator shaped like GNMT with four layers, untrained.

    A sentence has 24 tokens of 36,548, and every layer 1,024 units; the next word of the target
    is told at each of its places. Attention looks from the decoder's first layer, and does not
    lead back into it as in GNMT: that would be a layer of its own making.

    Source: Wu et al., 2016, "Google's Neural Machine Translation System". arXiv:1609.08144
    """
    tokens, units, length = 36_548, 1024, 24
    source = keras.Input((length,), dtype="int32", name="source")
    target = keras.Input((length,), dtype="int32", name="target")

    encoded = layers.Embedding(tokens, units)(source)
    encoded = layers.Bidirectional(layers.LSTM(units, return_sequences=True))(encoded)
    encoded = layers.LSTM(units, return_sequences=True)(encoded)
    for _ in range(2):
        encoded = layers.add([encoded, layers.LSTM(units, return_sequences=True)(encoded)])

    embedded = layers.Embedding(tokens, units)(target)
    decoded = layers.LSTM(units, return_sequences=True)(embedded)
    query, key = (layers.Dense(units, use_bias=False)(each) for each in (decoded, encoded))
    context = layers.AdditiveAttention()([query, encoded, key])
    for _ in range(3):
        seen = layers.concatenate([decoded, context])
        decoded = layers.add([decoded, layers.LSTM(units, return_sequences=True)(seen)])
    words = layers.Dense(tokens, use_bias=False, activation="softmax")(decoded)
    return keras.Model([source, target], words, name="gnmt")


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
