"""The learning rate once a model is as sparse as it will be."""

import keras
import numpy as np
import pytest
from keras import layers

import pruning_core as pc
from pruning_core.cool_down import CoolDown
from pruning_core.training import Pruning

RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 6)).astype("float32")
Y = RNG.normal(size=(16, 2)).astype("float32")
STEPS = 8  #: Of one epoch in batches of 2.


def model(optimizer="sgd"):
    keras.utils.set_random_seed(1)
    made = keras.Sequential([keras.Input((6,)), layers.Dense(2, name="a")])
    made.compile(optimizer, "mse")
    return made


def rates(schedule, steps):
    return [float(keras.ops.convert_to_numpy(schedule(step))) for step in steps]


def rates_of_steps(pruning):
    """The learning rate of each step of a training."""
    seen = []

    def look(**_):
        assert pruning.step == len(seen)  # and on JAX, this brings the optimizer up to date
        seen.append(float(keras.ops.convert_to_numpy(pruning.model.optimizer.learning_rate)))

    before = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: look(batch=batch, logs=logs)
    )
    pruning.model.fit(X, Y, batch_size=2, verbose=0, callbacks=[pruning.callback, before])
    return seen


def cooled(schedule, optimizer=None, total_steps=STEPS):
    return Pruning(
        model(),
        pc.PruningConfig(schedule=schedule),
        total_steps,
        optimizer=optimizer or keras.optimizers.SGD(0.5),
        cool_down=True,
    )


def test_it_falls_along_half_a_cosine():
    schedule = CoolDown(2.0, begin_step=10, end_step=16)

    assert rates(schedule, [0, 10, 12, 13, 14, 16, 20]) == pytest.approx([2, 2, 1.5, 1, 0.5, 0, 0])


def test_a_schedule_is_cooled_down_as_it_goes():
    steps = keras.optimizers.schedules.PiecewiseConstantDecay([11], [1.0, 0.5])
    schedule = CoolDown(steps, begin_step=10, end_step=14)

    assert rates(schedule, [10, 12, 14]) == pytest.approx([1, 0.25, 0])


@pytest.mark.parametrize(
    "rate", [0.5, keras.optimizers.schedules.ExponentialDecay(0.5, 4, 0.5)], ids=["number", "own"]
)
def test_it_is_saved_and_loaded_with_an_optimizer(rate):
    optimizer = keras.optimizers.SGD(CoolDown(rate, 2, 6))

    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))

    schedule, copied = optimizer._learning_rate, copy._learning_rate
    assert rates(schedule, range(8)) == rates(copied, range(8))


@pytest.mark.parametrize(
    ("schedule", "begin"),
    [
        pytest.param(pc.PolynomialDecay(end_step=4, frequency=3), 4, id="polynomial decay"),
        pytest.param(pc.OneShot(begin_step=2), 2, id="one shot"),
        pytest.param(pc.Constant(begin_step=3, frequency=2), 3, id="a level is reached at once"),
        pytest.param(pc.Iterative(rounds=3, end_step=5), 5, id="iterative"),
    ],
)
def test_it_begins_where_the_last_sparsity_is_reached(schedule, begin):
    expected = rates(CoolDown(0.5, begin, STEPS), range(STEPS))

    assert rates_of_steps(cooled(schedule)) == pytest.approx(expected)


def test_it_waits_for_the_last_of_several_schedules():
    config = pc.PruningConfig(
        schedule=pc.OneShot(begin_step=6),
        layers=(pc.LayerRule(match="first", schedule=pc.OneShot(begin_step=2)),),
    )
    two = keras.Sequential(
        [keras.Input((6,)), layers.Dense(4, name="first"), layers.Dense(2, name="second")]
    )
    two.compile(keras.optimizers.SGD(0.5), "mse")

    seen = rates_of_steps(Pruning(two, config, STEPS, cool_down=True))

    assert seen == pytest.approx([0.5] * 7 + [0.25])


def test_without_it_the_learning_rate_stays():
    config = pc.PruningConfig(schedule=pc.OneShot(begin_step=2))

    assert rates_of_steps(Pruning(model(), config, STEPS)) == pytest.approx([0.01] * STEPS)


def test_loss_scaling_goes_around_it():
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.5), initial_scale=2.0)

    seen = rates_of_steps(cooled(pc.OneShot(begin_step=6), scaled))

    assert seen == pytest.approx([0.5] * 7 + [0.25])


def test_the_stripped_model_has_the_learning_rate_that_the_given_one_had():
    pruned = pc.prune(
        model(keras.optimizers.SGD(0.25)), X, Y, epochs=1, batch_size=2, cool_down=True, verbose=0
    )

    assert float(keras.ops.convert_to_numpy(pruned.model.optimizer.learning_rate)) == 0.25


@pytest.mark.parametrize(
    ("schedule", "total_steps"),
    [
        pytest.param(pc.PolynomialDecay(end_step=STEPS), STEPS, id="the last step prunes"),
        pytest.param(pc.OneShot(), 0, id="no training"),
    ],
)
def test_it_is_refused_where_there_is_no_time_for_it(schedule, total_steps):
    with pytest.raises(pc.PruningConfigError, match="steps left") as caught:
        cooled(schedule, total_steps=total_steps)

    assert caught.value.field == "cool_down"


def test_it_is_refused_where_there_is_no_one_learning_rate():
    several = keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.5))
    )

    with pytest.raises(pc.PruningConfigError, match="Received: MultiOptimizer"):
        cooled(pc.OneShot(), several)
