"""Every layer with kernels: zero after every batch of its training, plain Keras in the end."""

import zipfile

import keras
import numpy as np
import pytest
from keras import layers

import pruning_core as pc
from pruning_core.training import Pruning
from tests.pruning_core.runs import BATCH_SIZE, Record, fit, weights_of, zeros_due, zeros_of

STEPS = 4
#: Its updates are at the steps 0, 2 and 3.
SCHEDULE = pc.PolynomialDecay(initial_sparsity=0.25, final_sparsity=0.75, end_step=3, frequency=2)
ON_REQUEST = pc.LayerRule(match="on_request", skip=False)


@keras.saving.register_keras_serializable("tests")
class Blend(layers.Layer):
    """A layer nobody has heard of, which says what can be pruned in it."""

    prunable_weights = ("mix",)

    def build(self, input_shape):
        self.mix = self.add_weight(shape=(input_shape[-1], 4), name="mix")
        self.shift = self.add_weight(shape=(input_shape[-1], 4), name="shift")

    def call(self, inputs):
        return inputs @ self.mix + inputs @ self.shift


@keras.saving.register_keras_serializable("tests")
class Reticent(layers.Layer):
    """A layer nobody has heard of, with one inside that everybody has."""

    def build(self, input_shape):
        self.mix = self.add_weight(shape=(input_shape[-1], 4), name="mix")
        self.inner = layers.Dense(4, name="inner")
        self.inner.build(input_shape)

    def call(self, inputs):
        return inputs @ self.mix + self.inner(inputs)


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = [layers.Dense(4, name="first"), layers.Dense(2, name="second")]

    def build(self, input_shape):
        for part in self.parts:
            part.build(input_shape)
            input_shape = part.compute_output_shape(input_shape)
        self.built = True

    def call(self, inputs):
        return self.parts[1](self.parts[0](inputs))


def twice(layer):
    return lambda x: layer(layers.ReLU()(layer(x)))


def on_itself(layer):
    return lambda x: layer(x, x)


def attended(layer):
    return lambda x: layer([layers.Dense(3, name="query")(x), x])


def nested():
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(4, name="first")], name="inner")
    outer = keras.Sequential([keras.Input((6,)), inner, layers.Dense(3, name="second")], name="a")
    return lambda x: layers.Dense(2, name="last")(outer(x))


def subclassed():
    model = Subclassed(name="a")
    model.build((None, 6))
    return model


def recurrent(path):
    return [f"{path}/kernel", f"{path}/recurrent_kernel"]


def projections(path):
    return [f"{path}/{part}/kernel" for part in ("query", "key", "value", "attention_output")]


VECTOR, SEQUENCE, IMAGE, VOLUME, FILM = (6,), (4, 3), (5, 5, 3), (3, 3, 3, 2), (2, 4, 4, 2)

CASES = {
    "Dense": (VECTOR, lambda: layers.Dense(4, name="a"), ["a/kernel"]),
    "EinsumDense": (
        SEQUENCE,
        lambda: layers.EinsumDense("abc,cde->abde", (4, 2, 3), bias_axes="e", name="a"),
        ["a/kernel"],
    ),
    "Conv1D": (SEQUENCE, lambda: layers.Conv1D(4, 3, name="a"), ["a/kernel"]),
    "Conv2D": (IMAGE, lambda: layers.Conv2D(4, 3, name="a"), ["a/kernel"]),
    "grouped Conv2D": (IMAGE, lambda: layers.Conv2D(6, 3, groups=3, name="a"), ["a/kernel"]),
    "Conv3D": (VOLUME, lambda: layers.Conv3D(4, 2, name="a"), ["a/kernel"]),
    "Conv1DTranspose": (SEQUENCE, lambda: layers.Conv1DTranspose(4, 3, name="a"), ["a/kernel"]),
    "Conv2DTranspose": (IMAGE, lambda: layers.Conv2DTranspose(4, 3, name="a"), ["a/kernel"]),
    "Conv3DTranspose": (VOLUME, lambda: layers.Conv3DTranspose(4, 2, name="a"), ["a/kernel"]),
    "SeparableConv1D": (
        SEQUENCE,
        lambda: layers.SeparableConv1D(4, 3, name="a"),
        ["a/pointwise_kernel"],
    ),
    "SeparableConv2D": (
        IMAGE,
        lambda: layers.SeparableConv2D(4, 3, name="a"),
        ["a/pointwise_kernel"],
    ),
    "SeparableConv2D on request": (
        IMAGE,
        lambda: layers.SeparableConv2D(4, 3, name="on_request"),
        ["on_request/depthwise_kernel", "on_request/pointwise_kernel"],
    ),
    "DepthwiseConv1D on request": (
        SEQUENCE,
        lambda: layers.DepthwiseConv1D(3, depth_multiplier=2, name="on_request"),
        ["on_request/kernel"],
    ),
    "DepthwiseConv2D on request": (
        IMAGE,
        lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, name="on_request"),
        ["on_request/kernel"],
    ),
    "Embedding": ("tokens", lambda: layers.Embedding(8, 3, name="a"), ["a/embeddings"]),
    "LSTM": (SEQUENCE, lambda: layers.LSTM(3, name="a"), recurrent("a")),
    "GRU": (SEQUENCE, lambda: layers.GRU(3, name="a"), recurrent("a")),
    "SimpleRNN": (SEQUENCE, lambda: layers.SimpleRNN(3, name="a"), recurrent("a")),
    "RNN over a cell": (
        SEQUENCE,
        lambda: layers.RNN(layers.LSTMCell(3, name="cell"), name="a"),
        recurrent("a/cell"),
    ),
    "RNN over stacked cells": (
        SEQUENCE,
        lambda: layers.RNN(
            layers.StackedRNNCells(
                [layers.GRUCell(3, name="first"), layers.SimpleRNNCell(3, name="second")],
                name="cells",
            ),
            name="a",
        ),
        [*recurrent("a/cells/first"), *recurrent("a/cells/second")],
    ),
    "ConvLSTM1D": (IMAGE, lambda: layers.ConvLSTM1D(2, 3, name="a"), recurrent("a")),
    "ConvLSTM2D": (FILM, lambda: layers.ConvLSTM2D(2, 3, name="a"), recurrent("a")),
    "Bidirectional": (
        SEQUENCE,
        lambda: layers.Bidirectional(layers.LSTM(2, name="lstm"), name="a"),
        [*recurrent("a/forward_lstm"), *recurrent("a/backward_lstm")],
    ),
    "TimeDistributed": (
        SEQUENCE,
        lambda: layers.TimeDistributed(layers.Dense(4, name="b"), name="a"),
        ["a/b/kernel"],
    ),
    "SpectralNormalization": (
        VECTOR,
        lambda: layers.SpectralNormalization(layers.Dense(4, name="b"), name="a"),
        ["a/b/kernel"],
    ),
    "MultiHeadAttention": (
        SEQUENCE,
        lambda: on_itself(layers.MultiHeadAttention(2, 3, name="a")),
        projections("a"),
    ),
    "GroupedQueryAttention": (
        SEQUENCE,
        lambda: on_itself(layers.GroupQueryAttention(2, 4, 2, name="a")),
        projections("a"),
    ),
    "Attention": (
        SEQUENCE,
        lambda: attended(layers.Attention(use_scale=True, name="a")),
        ["query/kernel"],
    ),
    "shared": (VECTOR, lambda: twice(layers.Dense(6, name="a")), ["a/kernel"]),
    "nested": (
        VECTOR,
        nested,
        ["a/inner/first/kernel", "a/second/kernel", "last/kernel"],
    ),
    "subclassed": (VECTOR, subclassed, ["a/first/kernel", "a/second/kernel"]),
    "custom, outspoken": (VECTOR, lambda: Blend(name="a"), ["a/mix"]),
    "custom, reticent": (VECTOR, lambda: Reticent(name="a"), ["a/inner/kernel"]),
}


def data(kind):
    rng = np.random.default_rng(0)
    samples = STEPS * BATCH_SIZE
    if kind == "tokens":
        return rng.integers(0, 8, (samples, 3)).astype("int32")
    return rng.normal(size=(samples, *kind)).astype("float32")


def model_around(part, x):
    inputs = keras.Input(x.shape[1:], dtype=x.dtype.name)
    model = keras.Model(inputs, layers.Flatten()(part(inputs)))
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse")
    return model


@pytest.mark.parametrize(("kind", "make", "names"), CASES.values(), ids=CASES)
def test_it_is_pruned_while_it_trains_and_plain_in_the_end(tmp_path, kind, make, names):
    x = data(kind)
    model = model_around(make(), x)
    y = np.random.default_rng(1).normal(size=(len(x), model.output_shape[-1])).astype("float32")
    rules = (ON_REQUEST,) if names[0].startswith(ON_REQUEST.match) else ()
    config = pc.PruningConfig(schedule=SCHEDULE, layers=rules)
    pruning = Pruning(model, config, total_steps=STEPS)
    before = weights_of(pruning.model)
    record = Record(lambda model: zeros_of(model, config))

    fit(pruning, x=x, y=y, callbacks=[record])
    path = tmp_path / "stripped.keras"
    pc.save(pruning.strip(), path)
    loaded = keras.saving.load_model(path, safe_mode=True)

    pruned = [tensor for tensor in pruning.report().tensors if tensor.pruned]
    assert [f"{tensor.layer}/{tensor.weight}" for tensor in pruned] == names
    assert record.seen == zeros_due(pruning, range(1, STEPS + 1))
    assert any(
        (old != new).any() for old, new in zip(before, weights_of(pruning.model), strict=True)
    )
    assert zeros_of(loaded, config) == record.seen[-1]
    np.testing.assert_array_equal(answers(loaded, x), answers(pruning.model, x))
    written = zipfile.ZipFile(path).read("config.json")
    assert b"Pruning" not in written
    assert b"espalier" not in written


def answers(model, x):
    return keras.ops.convert_to_numpy(model(x))


def test_what_attention_and_unknown_layers_keep_is_reported_with_its_reason():
    inputs = keras.Input(SEQUENCE)
    query = layers.Dense(3, name="query")(inputs)
    outputs = layers.AdditiveAttention(name="additive")([query, Reticent(name="new")(inputs)])
    model = keras.Model(inputs, layers.DepthwiseConv1D(2, name="depthwise")(outputs))

    reasons = {
        f"{tensor.layer}/{tensor.weight}": tensor.reason for tensor in pc.report(model).tensors
    }

    assert (
        reasons["additive/scale"] == "no rule says which weights of AdditiveAttention can be pruned"
    )
    assert reasons["new/mix"] == "no rule says which weights of Reticent can be pruned"
    assert reasons["depthwise/kernel"] == (
        "depthwise kernels are small and sensitive: not pruned by default"
    )
    assert reasons["query/kernel"] is None
    assert reasons["new/inner/kernel"] is None
