import json

import keras
import numpy as np
import pytest
from keras import layers

from pruning_core.copying import plain_copy
from pruning_core.errors import UnsupportedModelError


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


def test_layers_used_twice_stay_one():
    shared = layers.Dense(3, name="shared")
    inputs = keras.Input((3,))
    model = keras.Model(inputs, shared(layers.ReLU()(shared(inputs))))

    assert len(plain_copy(model).weights) == 2


def test_a_model_that_keras_cannot_load_again_is_refused():
    shared = layers.Dense(3, name="shared")
    one, other = (
        keras.Sequential([keras.Input((3,)), shared], name=name) for name in ("one", "other")
    )
    inputs = keras.Input((3,))
    model = keras.Model(inputs, one(inputs) + other(inputs))

    with pytest.raises(UnsupportedModelError, match=r"save and load again.*shared"):
        plain_copy(model)


def test_frozen_layers_stay_frozen():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, trainable=False)])

    assert not plain_copy(model).trainable_variables


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="IntegerLookup computes with TensorFlow"
)
def test_state_that_is_no_weight_comes_along():
    lookup = layers.IntegerLookup(output_mode="multi_hot")
    lookup.adapt(np.array([7, 7, 11]))
    model = keras.Sequential([keras.Input((1,), dtype="int64"), lookup, layers.Dense(2)])

    assert_same_answers(model, plain_copy(model), np.array([[7], [11], [13]]))


def test_classes_that_nobody_registered_are_copied():
    class Scaled(layers.Dense):
        def call(self, inputs, training=None):
            return 2 * super().call(inputs, training=training)

    model = keras.Sequential([keras.Input((3,)), Scaled(2)])

    copy = plain_copy(model)

    assert type(copy.layers[0]) is Scaled
    assert_same_answers(model, copy, np.ones((2, 3), dtype="float32"))


def test_a_lambda_of_this_process_is_copied():
    model = keras.Sequential([keras.Input((3,)), layers.Lambda(lambda x: 2 * x), layers.Dense(2)])

    assert_same_answers(model, plain_copy(model), np.ones((2, 3), dtype="float32"))


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
