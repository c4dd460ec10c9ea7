import json

import keras
import numpy as np
from keras import layers

from pruning_core.copying import plain_copy


def compiled(model):
    model.compile("adam", "mse")
    return model


def assert_same_answers(model, copy, x):
    np.testing.assert_array_equal(model.predict(x, verbose=0), copy.predict(x, verbose=0))


def test_neither_the_copy_nor_a_model_in_it_is_compiled():
    inner = compiled(keras.Sequential([keras.Input((3,)), layers.Dense(2)], name="inner"))
    model = compiled(keras.Sequential([keras.Input((3,)), inner]))

    copy = plain_copy(model)

    assert not copy.compiled
    assert not copy.get_layer("inner").compiled
    assert_same_answers(model, copy, np.ones((2, 3), dtype="float32"))


def test_layers_shared_across_nested_models_stay_shared():
    shared = layers.Dense(3, name="shared")
    one, other = (
        keras.Sequential([keras.Input((3,)), shared], name=name) for name in ("one", "other")
    )
    inputs = keras.Input((3,))
    model = keras.Model(inputs, one(inputs) + other(inputs))

    copy = plain_copy(model)

    assert copy.get_layer("one").layers[0] is copy.get_layer("other").layers[0]
    assert len(copy.weights) == 2


def test_frozen_layers_stay_frozen():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, trainable=False)])

    assert not plain_copy(model).trainable_variables


def test_state_that_is_no_weight_comes_along():
    dropout = layers.Dropout(0.5)
    model = keras.Sequential([keras.Input((100,)), dropout])
    copy = plain_copy(model)
    x = np.ones((1, 100), dtype="float32")

    np.testing.assert_array_equal(model(x, training=True), copy(x, training=True))


def test_classes_that_nobody_registered_are_copied():
    class Scaled(layers.Dense):
        def call(self, inputs, training=None):
            return 2 * super().call(inputs, training=training)

    model = keras.Sequential([keras.Input((3,)), Scaled(2)])

    copy = plain_copy(model)

    assert type(copy.layers[0]) is Scaled
    assert_same_answers(model, copy, np.ones((2, 3), dtype="float32"))


def test_a_layers_own_setting_of_that_name_is_kept():
    @keras.saving.register_keras_serializable("tests")
    class Remembering(layers.Layer):
        def __init__(self, compile_config, **kwargs):
            super().__init__(**kwargs)
            self.compile_config = compile_config

        def get_config(self):
            return super().get_config() | {"compile_config": self.compile_config}

    model = keras.Sequential([keras.Input((3,)), Remembering([1, 2])])

    assert json.dumps(plain_copy(model).layers[0].compile_config) == "[1, 2]"
