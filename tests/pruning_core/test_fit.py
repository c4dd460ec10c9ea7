"""Whatever ``fit`` is told to do, the pruned weights are exactly zero after every batch."""

import inspect

import keras
import numpy as np
import pytest
from keras import layers, optimizers

import pruning_core as pc
from pruning_core.optimizer import PruningOptimizer
from pruning_core.training import Pruning
from tests.pruning_core.runs import (
    BATCH_SIZE,
    CUBIC,
    STEPS,
    Record,
    X,
    Y,
    assert_same_weights,
    dense_model,
    fit,
    weights_of,
    zeros_due,
    zeros_of,
)

BACKEND = keras.backend.backend()

OF_KERAS = {
    name: optimizer
    for name, optimizer in inspect.getmembers(optimizers, inspect.isclass)
    if issubclass(optimizer, optimizers.Optimizer)
    and name not in {"Optimizer", "LossScaleOptimizer", "MultiOptimizer", "Ftrl"}
}


def assert_sparse_after_every_batch(pruning, **settings):
    record = Record(zeros_of)

    fit(pruning, callbacks=[record], **settings)

    assert record.seen == zeros_due(pruning, range(1, STEPS + 1))
    assert zeros_of(pruning.model) == record.seen[-1]


@pytest.fixture
def policy():
    """Set the policy of the models to come."""
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("make", OF_KERAS.values(), ids=OF_KERAS)
def test_with_every_optimizer(make):
    assert_sparse_after_every_batch(Pruning(dense_model(make(0.1)), CUBIC, STEPS))


def test_with_ftrl_that_zeroes_weights_without_a_gradient_as_well():
    pruning = Pruning(dense_model(optimizers.Ftrl(0.1)), CUBIC, STEPS)
    record = Record(zeros_of)

    fit(pruning, callbacks=[record])

    assert (np.array(record.seen) >= zeros_due(pruning, range(1, STEPS + 1))).all()


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True), id="momentum"),
        pytest.param(lambda: optimizers.Adam(0.1, amsgrad=True), id="amsgrad"),
        pytest.param(lambda: optimizers.Adam(0.1, use_ema=True, ema_momentum=0.5), id="average"),
        pytest.param(
            lambda: optimizers.Adam(0.1, use_ema=True, ema_overwrite_frequency=2),
            id="average written back",
        ),
        pytest.param(lambda: optimizers.SGD(0.1, weight_decay=0.1), id="weight decay"),
        pytest.param(lambda: optimizers.SGD(0.1, clipnorm=0.1), id="clipped by norm"),
        pytest.param(lambda: optimizers.SGD(0.1, clipvalue=0.1), id="clipped by value"),
        pytest.param(lambda: optimizers.SGD(0.1, global_clipnorm=0.1), id="clipped by all"),
        pytest.param(
            lambda: optimizers.SGD(optimizers.schedules.CosineDecay(0.1, STEPS), momentum=0.9),
            id="rate by a schedule",
        ),
        pytest.param(
            lambda: optimizers.MultiOptimizer(
                optimizers.OptimizerMap(
                    optimizers.SGD(0.1, momentum=0.9), {"b/.*": optimizers.Adam()}
                )
            ),
            id="one for each layer",
        ),
    ],
)
def test_with_every_setting_of_an_optimizer(make):
    assert_sparse_after_every_batch(Pruning(dense_model(make()), CUBIC, STEPS))


@pytest.mark.parametrize("settings", [{"jit_compile": True}, {"run_eagerly": True}], ids=str)
def test_compiled_and_eagerly(settings):
    assert_sparse_after_every_batch(Pruning(dense_model("adam", **settings), CUBIC, STEPS))


@pytest.mark.parametrize(
    ("name", "is_scaled"), [("mixed_float16", True), ("mixed_bfloat16", False)]
)
def test_in_mixed_precision(policy, name, is_scaled):
    policy(name)

    pruning = Pruning(dense_model(optimizers.Adam(0.1, use_ema=True)), CUBIC, STEPS)

    assert_sparse_after_every_batch(pruning)
    assert isinstance(pruning.model.optimizer, optimizers.LossScaleOptimizer) == is_scaled


def test_averages_are_swapped_in_under_loss_scaling(policy):
    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            del epoch, logs
            swapped.append(weights_of(self.model)[0])

    policy("mixed_float16")
    swapped = []
    pruning = Pruning(dense_model(optimizers.Adam(0.1, use_ema=True)), CUBIC, 2 * STEPS)
    last = Record(lambda model: weights_of(model)[0])

    fit(
        pruning,
        epochs=2,
        callbacks=[last, keras.callbacks.SwapEMAWeights(swap_on_epoch=True), Look()],
    )

    assert [np.count_nonzero(kernel == 0) for kernel in swapped] == [36, 36]
    assert not np.array_equal(swapped[-1], last.seen[-1]), "swapped"
    assert zeros_of(pruning.model) == [36, 12]


@pytest.mark.skipif(BACKEND == "torch", reason="Keras has no such executions on PyTorch")
def test_in_executions_of_several_steps():
    pruning = Pruning(dense_model("adam", steps_per_execution=2), CUBIC, STEPS)
    record = Record(zeros_of)

    fit(pruning, callbacks=[record])

    assert record.seen == zeros_due(pruning, (2, 4, 6))


def test_accumulated_gradients_are_one_step():
    optimizer = optimizers.Adam(0.1, gradient_accumulation_steps=2, use_ema=True)
    config = pc.PruningConfig(schedule=pc.OneShot(target_sparsity=0.5, begin_step=2))
    pruning = Pruning(dense_model(optimizer), config, STEPS // 2)
    record = Record(zeros_of)

    fit(pruning, callbacks=[record])

    assert record.seen == [[0, 0]] * 3 + [[24, 8]] * 3
    assert zeros_of(pruning.model) == [24, 8]


class OwnStep(keras.Model):
    """A model that says itself how it is trained, on each backend in that backend's way."""

    def train_step(self, *arguments):
        step = {"tensorflow": self._by_tape, "jax": self._by_value, "torch": self._by_tensor}
        return step[BACKEND](*arguments)

    def _by_tape(self, data):
        import tensorflow as tf

        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x=x, y=y, y_pred=self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"own": loss}

    def _by_value(self, state, data):
        import jax

        trainable, fixed, optimizer, metrics = state
        x, y = data

        def loss_of(weights):
            predicted, changed = self.stateless_call(weights, fixed, x, training=True)
            return self.compute_loss(x=x, y=y, y_pred=predicted), changed

        (loss, fixed), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable)
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
        return {"own": loss}, (trainable, fixed, optimizer, metrics)

    def _by_tensor(self, data):
        import torch

        x, y = data
        self.zero_grad()
        loss = self.compute_loss(x=x, y=y, y_pred=self(x, training=True))
        loss.backward()
        with torch.no_grad():
            self.optimizer.apply([weight.value.grad for weight in self.trainable_weights])
        return {"own": loss}


def test_with_a_train_step_of_the_models_own():
    inputs = keras.Input((6,))
    model = OwnStep(inputs, layers.Dense(2, name="b")(layers.Dense(8, name="a")(inputs)))
    model.compile("adam", "mse")
    pruning = Pruning(model, CUBIC, STEPS)

    assert_sparse_after_every_batch(pruning)
    assert "own" in pruning.model.history.history


@pytest.mark.skipif(BACKEND != "tensorflow", reason="GradientTape is TensorFlow's")
def test_in_a_loop_of_the_callers_own():
    import tensorflow as tf

    pruning = Pruning(dense_model("adam"), CUBIC, STEPS)
    model, seen = pruning.model, []
    callbacks = keras.callbacks.CallbackList([pruning.callback], model=model)

    callbacks.on_epoch_begin(0)
    for batch, start in enumerate(range(0, len(X), BATCH_SIZE)):
        with tf.GradientTape() as tape:
            error = model(X[start : start + BATCH_SIZE]) - Y[start : start + BATCH_SIZE]
            loss = tf.reduce_mean(tf.square(error))
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        callbacks.on_train_batch_end(batch)
        seen.append(zeros_of(model))

    assert seen == zeros_due(pruning, range(1, STEPS + 1))


def test_every_checkpoint_is_sparse(tmp_path):
    pruning = Pruning(dense_model("adam"), CUBIC, STEPS)

    fit(
        pruning,
        callbacks=[keras.callbacks.ModelCheckpoint(tmp_path / "{batch}.keras", save_freq=1)],
    )

    files = [tmp_path / f"{batch}.keras" for batch in range(1, STEPS + 1)]
    assert [zeros_of(keras.saving.load_model(file)) for file in files] == zeros_due(
        pruning, range(1, STEPS + 1)
    )


def test_in_mid_epoch_a_pruning_answers_as_it_is_then():
    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            del logs
            if batch == 2:
                zeros = [tensor.zeros for tensor in pruning.report().tensors if tensor.pruned]
                seen.append((pruning.step, zeros, zeros_of(pruning.strip())))

    seen = []
    pruning = Pruning(dense_model("adam"), CUBIC, STEPS)

    fit(pruning, callbacks=[Look()])

    (zeros,) = zeros_due(pruning, [3])
    assert seen == [(3, zeros, zeros)]


def stopped_early(epochs, **settings):
    """Train until nothing gets better, which is from the second epoch on."""
    model = dense_model(optimizers.SGD(0.1))
    pruning = Pruning(model, settings.pop("config", CUBIC), epochs * STEPS)
    stop = keras.callbacks.EarlyStopping("loss", restore_best_weights=True, mode="max", **settings)
    history = fit(pruning, epochs=epochs, callbacks=[stop]).history
    assert len(history["loss"]) < epochs
    return pruning


def test_restored_weights_are_brought_to_the_target_by_finish():
    late = pc.PruningConfig(schedule=pc.OneShot(target_sparsity=0.75, begin_step=2 * STEPS))
    pruning = stopped_early(4, config=late, patience=2)
    kernel = weights_of(pruning.model)[0]
    restored = zeros_of(pruning.model)

    pruning.finish()

    assert pruning.step == 3 * STEPS
    assert restored == [0, 0], "of the first epoch, before the update"
    assert zeros_of(pruning.model) == [36, 12]
    largest = np.abs(kernel) > np.sort(np.abs(kernel).ravel())[35]
    np.testing.assert_array_equal(weights_of(pruning.model)[0], np.where(largest, kernel, 0))


def test_restored_weights_that_are_at_the_target_stay_as_they_are():
    pruning = stopped_early(3, patience=1)
    before = weights_of(pruning.model)

    pruning.finish()

    assert zeros_of(pruning.model) == [36, 12]
    for old, new in zip(before, weights_of(pruning.model), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("callback", "rates"),
    [
        pytest.param(
            lambda: keras.callbacks.ReduceLROnPlateau("loss", mode="max", factor=0.5, patience=1),
            [0.1, 0.1, 0.05],
            id="on a plateau",
        ),
        pytest.param(
            lambda: keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / (epoch + 1)),
            [0.1, 0.05, 0.1 / 6],
            id="by the epoch",
        ),
    ],
)
@pytest.mark.parametrize("is_scaled", [False, True], ids=["plain", "loss scaling"])
def test_callbacks_change_the_rate_of_the_inner_optimizer(callback, rates, is_scaled):
    optimizer = optimizers.SGD(0.1)
    if is_scaled:
        optimizer = optimizers.LossScaleOptimizer(optimizer, initial_scale=8.0)
    pruning = Pruning(dense_model(optimizer), CUBIC, 3 * STEPS)
    inner = pruning._optimizer.inner_optimizer
    after = Record(lambda _: float(keras.ops.convert_to_numpy(inner.learning_rate)))

    history = fit(pruning, epochs=3, callbacks=[callback(), after]).history

    assert after.seen[::STEPS] == pytest.approx(rates)
    assert len(history["learning_rate"]) == 3
    assert zeros_of(pruning.model) == [36, 12]


def test_a_training_that_diverges_is_ended_and_said_to_have():
    late = pc.PruningConfig(schedule=pc.OneShot(target_sparsity=0.5, begin_step=0))
    pruning = Pruning(dense_model("sgd"), late, STEPS)
    diverging = np.where(np.arange(len(Y))[:, None] < 2 * BATCH_SIZE, Y, np.nan)
    record = Record(zeros_of)

    fit(pruning, y=diverging, callbacks=[keras.callbacks.TerminateOnNaN(), record])

    assert record.seen == [[24, 8]] * 3
    with pytest.raises(pc.NonFiniteWeightsError, match="a/kernel after step 6 must be finite"):
        pruning.finish()


@pytest.mark.parametrize("is_scaled", [False, True], ids=["plain", "loss scaling"])
def test_what_is_excluded_from_weight_decay_stays_so(is_scaled):
    def optimizer(model=None):
        decaying = optimizers.SGD(0.1, weight_decay=0.5)
        if model is None:
            decaying.exclude_from_weight_decay(var_names=["bias"])
        else:
            decaying.exclude_from_weight_decay(
                var_list=[model.layers[0].bias, model.layers[1].bias]
            )
        return optimizers.LossScaleOptimizer(decaying) if is_scaled else decaying

    trained = []
    for make in (lambda _: optimizers.SGD(0.1, weight_decay=0.5), lambda _: optimizer(), optimizer):
        model = dense_model()
        pruning = Pruning(model, CUBIC, STEPS, optimizer=make(model))
        fit(pruning)
        trained.append(pruning.model)

    decayed, by_name, by_variable = trained
    np.testing.assert_allclose(weights_of(by_name)[1], weights_of(by_variable)[1], rtol=1e-6)
    assert (weights_of(decayed)[1] != weights_of(by_name)[1]).any()
    kept = Pruning(dense_model(), CUBIC, STEPS, optimizer=optimizer()).strip().optimizer
    kept = kept.inner_optimizer if is_scaled else kept
    assert not kept._use_weight_decay(kept._trainable_variables[1])


def test_pruning_nothing_trains_as_keras_does():
    nothing = pc.PruningConfig(schedule=pc.OneShot(target_sparsity=0.0))
    plain = dense_model("adam")
    pruning = Pruning(plain, nothing, STEPS)

    plain.fit(X, Y, batch_size=BATCH_SIZE, shuffle=False, verbose=0)
    fit(pruning)

    assert isinstance(pruning.model.optimizer, PruningOptimizer)
    assert_same_weights(plain, pruning.model)
