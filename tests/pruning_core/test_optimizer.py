import keras
import numpy as np
import pytest

from pruning_core.optimizer import PruningOptimizer


def optimizer_of(*values, pruned, inner=None):
    variables = [keras.Variable(np.array(value, dtype="float32")) for value in values]
    return PruningOptimizer(inner or keras.optimizers.SGD(1.0), pruned), variables


def test_it_builds_itself_at_the_first_step():
    optimizer, (weights,) = optimizer_of([1.0, 2.0], pruned=[0])

    optimizer.apply_gradients([(keras.ops.ones(2), weights)])

    assert weights.numpy().tolist() == [0, 1]
    assert optimizer.steps_done() == 1
    assert optimizer.masks_done_up_to() == -1


def test_masks_hold_until_they_are_replaced():
    optimizer, (weights, free) = optimizer_of([1.0, 2.0, 3.0], [5.0], pruned=[0])
    optimizer.build([weights, free])
    gradients = [keras.ops.ones(3), keras.ops.ones(1)]

    optimizer.set_masks({0: np.array([False, True, True])}, up_to=7)
    at_once = weights.numpy().tolist()
    optimizer.apply(gradients, [weights, free])
    optimizer.set_masks({}, up_to=9)

    assert at_once == [0, 2, 3]
    assert weights.numpy().tolist() == [0, 1, 2]
    assert free.numpy().tolist() == [4]
    assert optimizer.masks_done_up_to() == 9


def test_what_is_pruned_is_positive_zero_whatever_it_was():
    optimizer, (weights,) = optimizer_of([-1.0, np.inf, np.nan, -0.0, 2.0], pruned=[0])
    optimizer.build([weights])

    optimizer.set_masks({0: np.array([False, False, False, False, True])}, up_to=0)

    values = keras.ops.convert_to_numpy(weights)
    assert values.tolist() == [0, 0, 0, 0, 2]
    assert not np.signbit(values).any()


def test_gradients_may_come_without_variables_as_on_jax():
    optimizer, (weights,) = optimizer_of([1.0, 2.0], pruned=[0])
    optimizer.build([weights])
    optimizer.set_masks({0: np.array([True, False])}, up_to=0)

    optimizer.apply([-keras.ops.ones(2)])

    assert weights.numpy().tolist() == [2, 0]


def test_its_variables_are_its_own_and_the_inner_ones_each_once():
    optimizer, (weights,) = optimizer_of([1.0], pruned=[0], inner=keras.optimizers.Adam())
    optimizer.build([weights])

    ids = [id(variable) for variable in optimizer.variables]

    assert len(ids) == len(set(ids))
    assert {id(variable) for variable in optimizer.inner_optimizer.variables} < set(ids)
    assert [v.dtype for v in optimizer.variables if "mask" in v.name][:1] == ["bool"]


@pytest.mark.parametrize(
    "inner",
    [
        keras.optimizers.AdamW(0.5, weight_decay=0.1),
        keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 10), momentum=0.9),
    ],
    ids=lambda inner: inner.name,
)
def test_its_config_makes_an_equal_one(inner):
    optimizer = PruningOptimizer(inner, [0, 3], name="mine")

    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))

    assert type(twin) is PruningOptimizer
    assert twin.get_config() == optimizer.get_config()
    assert (twin.name, twin.pruned) == ("mine", (0, 3))
