import keras
import numpy as np
import pytest
from keras import layers

import pruning_core as pc
from pruning_core import compact

CHANCE = np.random.default_rng(0)
X = CHANCE.normal(size=(32, 8, 8, 3)).astype("float32")
Y = CHANCE.integers(0, 3, 32)
AT_ONCE = pc.PruningConfig(
    schedule=pc.OneShot(target_sparsity=0.5),
    granularity=pc.Channel(),
)
HALF = pc.PruningConfig(
    schedule=pc.Constant(target_sparsity=0.5, begin_step=2),
    granularity=pc.Channel(),
)


def network(**normalisation):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(8, 3, padding="same", name="first"),
            layers.BatchNormalization(name="first_bn", **normalisation),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depthwise"),
            layers.BatchNormalization(name="depthwise_bn", **normalisation),
            layers.ReLU(),
            layers.Conv2D(6, 1, activation="relu", name="second"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, name="last"),
        ]
    )
    for variable in model.weights:
        if variable.name in {"beta", "bias"}:
            variable.assign(CHANCE.uniform(0.5, 1, variable.shape))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    return model


def emptied(model, name):
    kernel = keras.ops.convert_to_numpy(model.get_layer(name).kernel)
    return ~kernel.any(axis=(0, 1, 2))


def vectors(model, name):
    return {
        v.name: keras.ops.convert_to_numpy(v)
        for v in model.get_layer(name).weights
        if len(v.shape) == 1
    }


class AtEveryStep(keras.callbacks.Callback):
    def __init__(self, look):
        super().__init__()
        self.look = look

    def on_train_batch_end(self, batch, logs=None):
        del batch, logs
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        self.look(self.model)


@pytest.mark.parametrize("optimizer", ["adam", keras.optimizers.SGD(0.1, momentum=0.9)])
def test_after_every_step_what_goes_with_a_filter_is_zero_where_the_filter_is(optimizer):
    seen = []

    def look(model):
        empty = emptied(model, "first")
        seen.append(int(empty.sum()))
        for name, times in {"first": 1, "first_bn": 1, "depthwise": 2, "depthwise_bn": 2}.items():
            for vector in ("bias", "gamma", "beta"):
                if vector in (here := vectors(model, name)):
                    assert ((here[vector] == 0) == np.repeat(empty, times)).all(), (name, vector)
        assert ((vectors(model, "second")["bias"] == 0) == emptied(model, "second")).all()
        assert vectors(model, "last")["bias"].all()

    pc.prune(
        network(),
        X,
        Y,
        config=HALF,
        epochs=2,
        batch_size=4,
        optimizer=optimizer,
        callbacks=[AtEveryStep(look)],
        verbose=0,
    )

    assert seen[0] == 0
    assert seen[-1] == 4


@pytest.mark.parametrize("normalisation", [{}, {"scale": False}, {"center": False}])
def test_what_was_pruned_can_be_taken_out(normalisation):
    pruned = pc.prune(network(**normalisation), X, Y, config=HALF, batch_size=4, verbose=0).model

    smaller = compact(pruned)

    assert smaller.get_layer("first").filters == 4
    assert smaller.get_layer("second").filters == 3
    received, expected = (each.predict(X, verbose=0) for each in (smaller, pruned))
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)


def test_without_a_training_too():
    pruned = pc.prune(network(), config=AT_ONCE).model

    assert compact(pruned).get_layer("first").filters == 4


def test_a_single_weight_takes_nothing_along():
    config = pc.PruningConfig(schedule=pc.OneShot(target_sparsity=0.5))

    pruned = pc.prune(network(), config=config).model

    for name in ("first", "first_bn", "depthwise"):
        before = vectors(network(), name)
        assert {each: int((values == 0).sum()) for each, values in before.items()} == {
            each: int((values == 0).sum()) for each, values in vectors(pruned, name).items()
        }


def test_the_answers_of_a_model_keep_their_biases():
    config = pc.PruningConfig(
        schedule=pc.OneShot(target_sparsity=0.5),
        granularity=pc.Channel(),
        allocation=pc.Uniform(),
        layers=(pc.LayerRule(skip=False),),
    )

    pruned = pc.prune(network(), config=config).model

    assert not keras.ops.convert_to_numpy(pruned.get_layer("last").kernel).all()
    assert vectors(pruned, "last")["bias"].all()


def test_a_unit_that_is_not_zero_at_zero_keeps_its_bias():
    model = keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(4, "sigmoid", bias_initializer="ones", name="first"),
            layers.Dense(3, name="last"),
        ]
    )

    pruned = pc.prune(model, config=AT_ONCE).model

    assert vectors(pruned, "first")["bias"].all()


def test_frozen_normalisation_stays_as_it_is():
    model = network()
    model.get_layer("first_bn").trainable = False
    before = vectors(model, "first_bn")

    pruned = pc.prune(model, config=AT_ONCE).model

    after = vectors(pruned, "first_bn")
    assert all((before[name] == after[name]).all() for name in before)


def test_the_branches_behind_a_filter_are_followed():
    given = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="first")(given)
    left = layers.BatchNormalization(name="left")(x)
    right = layers.BatchNormalization(name="right", moving_mean_initializer="ones")(x)
    x = layers.add([left, right])
    x = layers.BatchNormalization(name="behind", beta_initializer="ones")(x)
    model = keras.Model(given, layers.Conv2D(2, 1, name="last")(x))

    pruned = pc.prune(model, config=AT_ONCE).model

    empty = emptied(pruned, "first")
    assert ((vectors(pruned, "left")["gamma"] == 0) == empty).all()
    assert ((vectors(pruned, "right")["moving_mean"] == 0) == empty).all()
    assert vectors(pruned, "behind")["beta"].all()
