"""The one call, and what it hands back."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers

import pruning_core as pc

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 6)).astype("float32")
Y = RNG.integers(0, 3, 20)
HALF = pc.PruningConfig(schedule=pc.OneShot(target_sparsity=0.5))


def classifier():
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, name="a"), layers.Dense(3, name="b")]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    return model


def two_inputs():
    keras.utils.set_random_seed(1)
    one, other = keras.Input((6,), name="one"), keras.Input((6,), name="other")
    model = keras.Model(
        {"one": one, "other": other}, layers.Dense(3, name="a")(layers.Concatenate()([one, other]))
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def count_zeros(array):
    return array.size - np.count_nonzero(array)


def test_data_and_a_schedule_are_enough():
    pruned = pc.prune(classifier(), X, Y, epochs=3, batch_size=8, verbose=0)

    assert pruned.report.sparsity == (round(48 * 0.8) + round(24 * 0.8)) / 72
    assert pruned.model.evaluate(X, Y, verbose=0, return_dict=True).keys() == {"loss", "accuracy"}
    assert len(pruned.history["loss"]) == 3
    assert isinstance(pruned.model.optimizer, keras.optimizers.Adam)


@pytest.mark.parametrize(
    ("epochs", "batch_size", "steps"), [(1, 8, 3), (2, 8, 6), (2, 20, 2), (3, 64, 3)]
)
def test_the_steps_are_epochs_times_batches_the_last_one_short(epochs, batch_size, steps):
    fits = pc.PruningConfig(schedule=pc.OneShot(begin_step=steps))
    too_long = pc.PruningConfig(schedule=pc.OneShot(begin_step=steps + 1))

    with pytest.raises(pc.PruningConfigError, match=rf"steps \({steps}\)"):
        pc.prune(classifier(), X, Y, config=too_long, epochs=epochs, batch_size=batch_size)
    pruned = pc.prune(
        classifier(), X, Y, config=fits, epochs=epochs, batch_size=batch_size, verbose=0
    )

    assert pruned.report.sparsity == pytest.approx(0.8, abs=0.01)


def test_accumulated_batches_are_one_step():
    model = classifier()
    optimizer = keras.optimizers.SGD(gradient_accumulation_steps=2)

    with pytest.raises(pc.PruningConfigError, match=r"steps \(3\)"):
        pc.prune(
            model,
            X,
            Y,
            config=pc.PruningConfig(schedule=pc.OneShot(begin_step=4)),
            batch_size=8,
            optimizer=optimizer,
        )


def test_without_data_the_model_is_pruned_at_once():
    model = classifier()

    pruned = pc.prune(model, config=dataclasses.replace(HALF, allocation=pc.Uniform()))

    kernel = keras.ops.convert_to_numpy(model.layers[0].kernel)
    kept = np.abs(kernel) > np.sort(np.abs(kernel).ravel())[23]
    np.testing.assert_array_equal(pruned.model.layers[0].kernel.numpy(), kernel * kept)
    assert pruned.report.sparsity == 0.5
    assert pruned.history == {}


def test_a_model_that_is_not_compiled_stays_so_when_it_is_pruned_at_once():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4)])

    pruned = pc.prune(model, config=HALF)

    assert not pruned.model.compiled
    assert pruned.report.sparsity == 0.5


def test_pruning_at_once_takes_only_a_schedule_that_begins_at_once():
    config = pc.PruningConfig(schedule=pc.OneShot(begin_step=1))

    with pytest.raises(pc.PruningConfigError) as caught:
        pc.prune(classifier(), config=config)

    assert caught.value.field == "schedule/begin_step"


def test_a_model_that_is_sparse_enough_loses_nothing_more():
    once = pc.prune(classifier(), config=HALF)
    twice = pc.prune(once.model, config=HALF)

    for one, other in zip(once.model.weights, twice.model.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_several_inputs_go_by_name():
    pruned = pc.prune(two_inputs(), {"one": X, "other": X}, Y, config=HALF, verbose=0)

    assert pruned.report.sparsity == 0.5


def test_the_target_is_reached_though_a_callback_stops_the_training():
    class StopAtOnce(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            del batch, logs
            self.model.stop_training = True

    pruned = pc.prune(
        classifier(),
        X,
        Y,
        config=pc.PruningConfig(schedule=pc.PolynomialDecay(final_sparsity=0.75)),
        batch_size=4,
        callbacks=[StopAtOnce()],
        verbose=0,
    )

    assert pruned.report.sparsity == 0.75


def test_validation_data_is_measured():
    pruned = pc.prune(classifier(), X, Y, config=HALF, validation_data=(X, Y), verbose=0)

    assert len(pruned.history["val_accuracy"]) == 2


def test_data_that_is_no_array_is_refused():
    with pytest.raises(pc.PruningConfigError, match=r"x must be an array.* Received: generator"):
        pc.prune(classifier(), (batch for batch in [X]))


def test_a_seed_decides_everything():
    def weights():
        return pc.prune(
            classifier(), X, Y, config=HALF, batch_size=8, verbose=0
        ).model.get_weights()

    for one, other in zip(weights(), weights(), strict=True):
        np.testing.assert_array_equal(one, other)
