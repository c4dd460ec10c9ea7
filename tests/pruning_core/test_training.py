"""Training, on models so small that what happens can be checked weight by weight."""

import keras
import numpy as np
import pytest

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
    zeros_of,
)


def momentum():
    return keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True)


def test_kept_weights_are_trained():
    pruning = Pruning(dense_model(), CUBIC, total_steps=STEPS)
    *_, kernel_before, bias_before = weights_of(pruning.model)

    fit(pruning)

    *_, kernel, bias = weights_of(pruning.model)
    assert (bias != bias_before).all()
    assert np.count_nonzero((kernel != 0) & (kernel != kernel_before)) == 4


def test_each_update_prunes_the_smallest_weights_of_that_moment():
    config = pc.PruningConfig(schedule=pc.OneShot(target_sparsity=0.5, begin_step=3))
    pruning = Pruning(dense_model(), config, total_steps=STEPS)
    plain = dense_model()
    plain.fit(X[: 3 * BATCH_SIZE], Y[: 3 * BATCH_SIZE], batch_size=4, shuffle=False, verbose=0)
    kernel = weights_of(plain)[0]
    threshold = np.sort(np.abs(kernel).ravel())[kernel.size // 2]
    record = Record(lambda model: weights_of(model)[0])

    fit(pruning, callbacks=[record])

    assert (record.seen[1] != 0).all()
    np.testing.assert_array_equal(record.seen[2], np.where(abs(kernel) < threshold, 0, kernel))


def test_pruned_weights_are_not_minus_zero_and_survive_an_infinite_step():
    pruning = Pruning(dense_model(momentum()), CUBIC, total_steps=STEPS)
    pruning.finish()
    kernel = pruning.model.trainable_variables[0]
    pruned = weights_of(pruning.model)[0] == 0

    kernel.assign(np.where(pruned, -1.0, 1.0))
    pruning.model.optimizer.apply_masks()
    negative = weights_of(pruning.model)[0]
    kernel.assign(np.where(pruned, np.nan, 1.0))
    pruning.model.optimizer.apply_masks()

    assert not np.signbit(negative[pruned]).any()
    assert (weights_of(pruning.model)[0][pruned] == 0).all()


def test_the_moving_averages_are_masked_too():
    pruning = Pruning(dense_model(averaging()), CUBIC, total_steps=STEPS)
    inner = pruning.model.optimizer.inner_optimizer
    record = Record(
        lambda model: [
            np.count_nonzero(average.numpy()[weight.numpy() == 0])
            for weight, average in zip(
                model.trainable_variables, inner._model_variables_moving_average, strict=True
            )
            if weight.name == "kernel"
        ]
    )

    fit(pruning, callbacks=[record])

    assert record.seen == [[0, 0]] * STEPS


def averaging():
    return keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9)


@pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param(averaging(), id="one optimizer"),
        pytest.param(
            keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(averaging())),
            id="one for each group of variables",
        ),
    ],
)
def test_weights_are_still_sparse_when_the_average_replaces_them(optimizer):
    pruning = Pruning(dense_model(optimizer), CUBIC, total_steps=STEPS)
    last = Record(lambda model: weights_of(model)[0])

    fit(pruning, callbacks=[last])

    assert not np.array_equal(weights_of(pruning.model)[0], last.seen[-1]), "replaced"
    assert zeros_of(pruning.model) == [36, 12]


def test_weights_are_sparse_while_the_averages_are_swapped_in():
    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            del epoch, logs
            seen.append(zeros_of(self.model))

    seen = []
    pruning = Pruning(dense_model(averaging()), CUBIC, total_steps=2 * STEPS)

    fit(pruning, epochs=2, callbacks=[keras.callbacks.SwapEMAWeights(swap_on_epoch=True), Look()])

    assert seen == [[36, 12], [36, 12]]


def test_mixed_precision_scales_the_loss_outside():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        optimizer = keras.optimizers.Adam(0.01, loss_scale_factor=8.0)
        pruning = Pruning(dense_model(), CUBIC, total_steps=STEPS, optimizer=optimizer)
    finally:
        keras.config.set_dtype_policy("float32")
    record = Record(zeros_of)

    fit(pruning, callbacks=[record])

    assert isinstance(pruning.model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert isinstance(pruning.model.optimizer.inner_optimizer, PruningOptimizer)
    assert pruning.model.optimizer.inner_optimizer.inner_optimizer.loss_scale_factor is None
    assert record.seen[-1] == [36, 12]


def test_steps_that_loss_scaling_leaves_out_are_made_up_for_by_finish():
    huge = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1e-9), initial_scale=2.0**126)
    model = dense_model(huge)
    pruning = Pruning(model, CUBIC, total_steps=STEPS)

    fit(pruning, y=1e3 * Y)
    made, left = pruning.step, zeros_of(pruning.model)
    pruning.finish()

    assert made < STEPS
    assert left < [36, 12]
    assert zeros_of(pruning.model) == [36, 12]
    assert pruning.model.optimizer.initial_scale == 2.0**126


def test_a_rule_has_its_own_update_steps():
    config = pc.PruningConfig(
        schedule=pc.OneShot(target_sparsity=0.5, begin_step=4),
        layers=(pc.LayerRule(match="b", schedule=pc.OneShot(target_sparsity=0.75, begin_step=2)),),
    )
    pruning = Pruning(dense_model(), config, total_steps=STEPS)
    record = Record(zeros_of)

    fit(pruning, callbacks=[record])

    assert record.seen == [[0, 0], [0, 12], [0, 12], [24, 12], [24, 12], [24, 12]]


def test_between_updates_the_device_is_not_asked():
    config = pc.PruningConfig(schedule=pc.PolynomialDecay(end_step=12, frequency=12))
    pruning = Pruning(dense_model(), config, total_steps=2 * STEPS)
    asked = []
    steps_done = pruning._optimizer.steps_done
    pruning._optimizer.steps_done = lambda: asked.append(steps_done()) or asked[-1]

    fit(pruning, epochs=2)

    assert asked == [0, 6, 12]


def test_weights_that_are_not_finite_are_named():
    pruning = Pruning(dense_model(keras.optimizers.SGD(1e20)), CUBIC, total_steps=STEPS)

    with pytest.raises(pc.NonFiniteWeightsError, match=r"weights of a/kernel after step [24] must"):
        fit(pruning)


def test_a_model_checkpoint_in_mid_epoch_is_sparse_and_loads_whole(tmp_path):
    path = tmp_path / "checkpoint.keras"
    pruning = Pruning(dense_model("adam"), CUBIC, total_steps=STEPS)

    fit(pruning, callbacks=[keras.callbacks.ModelCheckpoint(path, save_freq=4)])

    loaded = keras.saving.load_model(path)
    assert zeros_of(loaded) == [round(48 * CUBIC.schedule.sparsity_at(4)), 12]
    assert loaded.optimizer.steps_done() == loaded.optimizer.masks_done_up_to() == 4
    assert loaded.optimizer.pruned == (0, 2)
    loaded.fit(X, Y, verbose=0)
    assert zeros_of(loaded) == [round(48 * CUBIC.schedule.sparsity_at(4)), 12]


@pytest.mark.parametrize("run", [fit, Pruning.finish], ids=["fit", "at once"])
def test_the_given_model_is_not_touched(run):
    model = dense_model("adam")
    before, optimizer = weights_of(model), model.optimizer
    pruning = Pruning(model, CUBIC, total_steps=STEPS)

    run(pruning)
    stripped = pruning.strip()

    for old, new in zip(before, weights_of(model), strict=True):
        np.testing.assert_array_equal(old, new)
    assert model.optimizer is optimizer
    assert int(optimizer.iterations) == 0
    own = {id(variable) for variable in model.variables}
    assert not own & {id(variable) for variable in pruning.model.variables}
    assert not own & {id(variable) for variable in stripped.variables}


def test_without_a_copy_the_given_model_is_pruned_as_a_copy_would_be():
    model = dense_model("adam")
    copied = Pruning(model, CUBIC, total_steps=STEPS)
    fit(copied)

    pruning = Pruning(model, CUBIC, total_steps=STEPS, copy=False)
    fit(pruning)

    assert pruning.model is model
    assert_same_weights(copied.model, model)


def test_without_a_training_there_is_no_state_of_an_optimizer():
    model = dense_model("adam")

    pruning = Pruning(model, pc.PruningConfig(schedule=pc.OneShot()), total_steps=0)
    pruning.finish()

    state = [each for each in pruning.model.optimizer.variables if each.dtype != "bool"]
    assert all(each.shape == () for each in state), "steps and the learning rate, and no moments"
    assert isinstance(pruning.strip().optimizer, keras.optimizers.Adam)


def test_stripping_gives_a_model_of_its_own():
    pruning = Pruning(dense_model("adam"), CUBIC, total_steps=STEPS)

    stripped = pruning.strip()

    trained = {id(variable) for variable in pruning.model.variables}
    assert not trained & {id(variable) for variable in stripped.variables}
    assert isinstance(stripped.optimizer, keras.optimizers.Adam)
    assert isinstance(pruning.model.optimizer, PruningOptimizer)


def test_the_copy_is_compiled_as_the_model_was():
    def error(y, predicted):
        return keras.ops.mean(keras.ops.abs(y - predicted), axis=-1)

    accuracy = keras.metrics.MeanSquaredError(name="mine")
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 10), beta_1=0.8)
    model = dense_model()
    steps = 1 if keras.backend.backend() == "torch" else 2  # Keras has no other on PyTorch
    model.compile(optimizer, error, metrics=[accuracy, error], steps_per_execution=steps)

    pruning = Pruning(model, CUBIC, total_steps=STEPS)
    logs = fit(pruning).history

    assert set(logs) == {"loss", "mine", "error"}
    assert pruning.model.loss is error
    assert pruning.model.steps_per_execution == steps
    inner = pruning.model.optimizer.inner_optimizer
    assert inner is not optimizer
    assert inner.get_config() == optimizer.get_config()
    assert float(accuracy.result()) == 0, "the metric of the given model was not used"


def test_the_learning_rate_is_the_inner_optimizers():
    pruning = Pruning(dense_model(keras.optimizers.SGD(0.5)), CUBIC, total_steps=STEPS)
    optimizer = pruning.model.optimizer

    optimizer.learning_rate = 0.25

    assert float(optimizer.learning_rate) == 0.25
    assert float(optimizer.inner_optimizer.learning_rate) == 0.25
    assert int(optimizer.iterations) == 0


def test_loss_scaling_by_a_fixed_factor_changes_nothing():
    plain = Pruning(dense_model(keras.optimizers.SGD(0.1)), CUBIC, total_steps=STEPS)
    scaled = Pruning(
        dense_model(keras.optimizers.SGD(0.1, loss_scale_factor=4.0)), CUBIC, total_steps=STEPS
    )

    fit(plain)
    fit(scaled)

    for one, other in zip(weights_of(plain.model), weights_of(scaled.model), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_optimizer_loss_and_metrics_may_be_given_instead():
    model = dense_model()
    model.compile("sgd", "mse", metrics=["mae"])

    pruning = Pruning(model, CUBIC, STEPS, optimizer=momentum(), loss="mae", metrics=["mse"])

    assert set(fit(pruning).history) == {"loss", "mse"}
    assert pruning.model.loss == "mae"
    assert pruning.model.optimizer.inner_optimizer.momentum == 0.9


def test_a_training_without_a_loss_is_refused():
    model = dense_model()
    uncompiled = keras.models.clone_model(model)
    uncompiled.compiled = False

    with pytest.raises(pc.PruningConfigError, match="loss must be given") as caught:
        Pruning(uncompiled, CUBIC, total_steps=STEPS)

    assert caught.value.field == "loss"


def test_a_schedule_that_does_not_fit_the_training_is_refused():
    with pytest.raises(pc.PruningConfigError) as caught:
        Pruning(dense_model(), CUBIC, total_steps=4)

    assert caught.value.field == "schedule/end_step"


@pytest.mark.parametrize("step", range(STEPS + 1))
def test_the_planned_sparsity_is_the_one_that_is_seen(step):
    pruning = Pruning(dense_model(), CUBIC, total_steps=STEPS)

    pruning._optimizer.steps_done = lambda: step
    pruning.callback.set_model(pruning.model)
    pruning.callback.on_epoch_begin(0)

    assert pruning.sparsity_at(step) == pruning.report().sparsity
