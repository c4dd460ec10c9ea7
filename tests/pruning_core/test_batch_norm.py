"""Statistics of batch normalisation, measured anew."""

import keras
import numpy as np
import pytest
from keras import layers

import pruning_core as pc
from pruning_core.batch_norm import recalibrate

RNG = np.random.default_rng(0)
X = RNG.normal(loc=3.0, scale=2.0, size=(20, 6)).astype("float32")


def normalised(*, trainable=True):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.BatchNormalization(name="first", trainable=trainable),
            layers.Dense(4, activation="relu", name="a"),
            layers.BatchNormalization(name="second"),
            layers.Dense(2, name="b"),
        ]
    )
    model.compile("sgd", "mse")
    return model


def weights_of(model):
    return [keras.ops.convert_to_numpy(weight) for weight in model.weights]


def moments(model, name):
    layer = model.get_layer(name)
    return [
        keras.ops.convert_to_numpy(moment) for moment in (layer.moving_mean, layer.moving_variance)
    ]


def test_the_statistics_are_those_of_all_samples_whatever_the_batches():
    model = normalised()

    recalibrate(model, [X[:8], X[8:16], X[16:]])

    np.testing.assert_allclose(moments(model, "first"), [X.mean(axis=0), X.var(axis=0)], rtol=1e-5)


def test_a_later_layer_sees_what_reaches_it_in_training():
    model = normalised()
    standard = (X - X.mean(axis=0)) / np.sqrt(X.var(axis=0) + 1e-3)
    reaching = keras.ops.convert_to_numpy(model.get_layer("a")(standard))

    recalibrate(model, [X])

    np.testing.assert_allclose(
        moments(model, "second"), [reaching.mean(axis=0), reaching.var(axis=0)], rtol=1e-4
    )


def test_nothing_else_changes():
    model, before = normalised(), weights_of(normalised())

    recalibrate(model, [X])

    for weight, old in zip(model.weights, before, strict=True):
        if not weight.name.startswith("moving_"):
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), old)
    assert model.get_layer("first").momentum == 0.99


@pytest.mark.parametrize(
    ("model", "batches"),
    [
        pytest.param(normalised(), [], id="no batch"),
        pytest.param(keras.Sequential([keras.Input((6,)), layers.Dense(2)]), [X], id="no layer"),
    ],
)
def test_where_there_is_nothing_to_measure_nothing_changes(model, batches):
    before = weights_of(model)

    recalibrate(model, batches)

    for old, new in zip(before, weights_of(model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_frozen_layer_keeps_its_statistics():
    model = normalised(trainable=False)

    recalibrate(model, [X])

    np.testing.assert_array_equal(moments(model, "first"), [np.zeros(6), np.ones(6)])


def test_a_model_pruned_on_samples_without_labels_is_measured_on_them():
    config = pc.PruningConfig(schedule=pc.OneShot(target_sparsity=0.5))

    pruned = pc.prune(normalised(), X, config=config, epochs=1, batch_size=8, verbose=0)

    np.testing.assert_allclose(
        moments(pruned.model, "first"), [X.mean(axis=0), X.var(axis=0)], rtol=1e-5
    )
