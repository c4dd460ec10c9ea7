"""Stopped after any batch and resumed: the same weights as without a stop, to the last bit."""

import keras
import pytest
from keras import layers, optimizers

import pruning_core as pc
from pruning_core.randomness import RandomState
from pruning_core.training import Pruning
from tests.pruning_core.runs import (
    BATCH_SIZE,
    STEPS,
    X,
    Y,
    assert_same_weights,
    fit,
    weights_of,
    zeros_due,
    zeros_of,
)

#: Its updates are at the steps 0, 3 and 5: a stop falls before, on and between them.
CONFIG = pc.PruningConfig(
    schedule=pc.PolynomialDecay(initial_sparsity=0.25, final_sparsity=0.75, end_step=5, frequency=3)
)

#: On PyTorch a Dropout without a seed of its own draws from torch's one generator for all.
SEED = 7 if keras.backend.backend() == "torch" else None


def noisy_model(optimizer, *, seed=1):
    """What Keras can keep in no file: the random numbers of layers, here of two kinds."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.GaussianNoise(0.1),
            layers.Dense(8, name="a"),
            layers.BatchNormalization(),
            layers.Dropout(0.5, seed=SEED),
            layers.Dense(2, name="b"),
        ]
    )
    model.compile(optimizer, "mse")
    keras.utils.set_random_seed(seed)  # as in another process
    return model


class StopAfter(keras.callbacks.Callback):
    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def on_train_batch_end(self, batch, logs=None):
        del logs
        if batch + 1 == self.batches:
            raise KeyboardInterrupt


@pytest.fixture
def policy():
    """Set the policy of the models to come."""
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy("float32")


OPTIMIZERS = {
    "adam": ("float32", lambda: optimizers.Adam(0.05), 4),
    "momentum, rate by a schedule": (
        "float32",
        lambda: optimizers.SGD(optimizers.schedules.CosineDecay(0.1, STEPS), momentum=0.9),
        3,
    ),
    "averages": (
        "float32",
        lambda: optimizers.Adam(0.05, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=4),
        2,
    ),
    "accumulated gradients": (
        "float32",
        lambda: optimizers.Adam(0.05, gradient_accumulation_steps=2),
        3,
    ),
    "one for each layer": (
        "float32",
        lambda: optimizers.MultiOptimizer(
            optimizers.OptimizerMap(optimizers.SGD(0.1, momentum=0.9), {"a/.*": optimizers.Adam()})
        ),
        5,
    ),
    "loss scaling": (
        "mixed_float16",
        lambda: optimizers.LossScaleOptimizer(
            optimizers.Adam(0.05), initial_scale=2.0**10, dynamic_growth_steps=2
        ),
        1,
    ),
}


@pytest.mark.parametrize(("name", "make", "stop"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_checkpoint_after_any_batch_goes_on_from_there(tmp_path, policy, name, make, stop):
    policy(name)
    straight = Pruning(noisy_model(make()), CONFIG, STEPS)
    resumed = Pruning(noisy_model(make(), seed=2), CONFIG, STEPS)
    every_batch = keras.callbacks.ModelCheckpoint(
        tmp_path / "{batch}.weights.h5", save_weights_only=True, save_freq=1
    )

    fit(straight, callbacks=[every_batch])
    resumed.model.load_weights(tmp_path / f"{stop}.weights.h5")
    fit(resumed, x=X[stop * BATCH_SIZE :], y=Y[stop * BATCH_SIZE :])

    assert resumed.step == straight.step
    assert_same_weights(straight.model, resumed.model)


def test_a_backup_in_mid_epoch_goes_on_where_it_was_made(tmp_path):
    straight, stopped = (Pruning(noisy_model("adam"), CONFIG, STEPS) for _ in range(2))
    resumed = Pruning(noisy_model("adam", seed=2), CONFIG, STEPS)
    backup, again = (keras.callbacks.BackupAndRestore(tmp_path, save_freq=1) for _ in range(2))

    fit(straight)
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, callbacks=[backup, StopAfter(4)])
    fit(resumed, x=X[4 * BATCH_SIZE :], y=Y[4 * BATCH_SIZE :], callbacks=[again])

    assert_same_weights(straight.model, resumed.model)


def test_a_backup_of_an_epoch_goes_on_with_the_next_one(tmp_path):
    straight, stopped = (Pruning(noisy_model("adam"), CONFIG, 2 * STEPS) for _ in range(2))
    resumed = Pruning(noisy_model("adam", seed=2), CONFIG, 2 * STEPS)
    backup, again = (keras.callbacks.BackupAndRestore(tmp_path) for _ in range(2))

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            del logs
            if epoch == 1:
                raise KeyboardInterrupt

    fit(straight, epochs=2)
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, epochs=2, callbacks=[backup, Stop()])
    fit(resumed, epochs=2, callbacks=[again])

    assert resumed.step == straight.step == 2 * STEPS
    assert_same_weights(straight.model, resumed.model)


def test_the_random_state_is_that_of_all_layers_however_deep():
    cells = [layers.LSTMCell(2, dropout=0.5), layers.GRUCell(2, recurrent_dropout=0.5)]
    inner = keras.Sequential([keras.Input((4, 3)), layers.Dropout(0.5), layers.RNN(cells)])
    model = keras.Sequential([keras.Input((4, 3)), inner, layers.BatchNormalization()])

    state = RandomState.of(model)

    assert len(state.variables) == 3
    assert {variable.name for variable in state.variables} == {"seed_generator_state"}


def test_a_model_that_was_loaded_from_a_checkpoint_keeps_its_masks(tmp_path):
    path = tmp_path / "checkpoint.keras"
    pruning = Pruning(noisy_model("adam"), CONFIG, STEPS)
    fit(pruning, x=X[: 4 * BATCH_SIZE], y=Y[: 4 * BATCH_SIZE])
    pruning.model.save(path)

    loaded = keras.saving.load_model(path)
    before = weights_of(loaded)
    loaded.fit(X, Y, batch_size=BATCH_SIZE, verbose=0)

    assert zeros_of(loaded) == zeros_due(pruning, [4])[0]
    assert any((old != new).any() for old, new in zip(before, weights_of(loaded), strict=True))


def test_a_checkpoint_of_a_model_without_random_numbers_is_loaded_too(tmp_path):
    path = str(tmp_path / "checkpoint.weights.h5")
    pruning = Pruning(noisy_model("adam"), CONFIG, STEPS)
    fit(pruning, x=X[:BATCH_SIZE], y=Y[:BATCH_SIZE])
    pruning.model.save(tmp_path / "checkpoint.keras")
    keras.saving.load_model(tmp_path / "checkpoint.keras").save_weights(path)

    resumed = Pruning(noisy_model("adam"), CONFIG, STEPS)
    resumed.model.load_weights(path)

    assert resumed.step == 1
    assert_same_weights(pruning.model, resumed.model)
