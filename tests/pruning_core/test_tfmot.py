"""Held against TFMOT 0.8.1: values that its own tests state, not its code."""

import numpy as np
import pytest

from pruning_core.allocation import Level, masks
from pruning_core.catalogue import layout
from pruning_core.config import Block, NOfM, PruningConfig, Uniform
from pruning_core.errors import PruningConfigError
from pruning_core.granularity import Kernel
from pruning_core.mask import keep_highest
from pruning_core.schedule import Constant, PolynomialDecay
from pruning_core.tfmot import config_from_tfmot, schedule_from_tfmot

POLYNOMIAL = {
    "initial_sparsity": 0.2,
    "final_sparsity": 0.8,
    "begin_step": 100,
    "end_step": 110,
    "power": 3,
    "frequency": 10,
}


def decay(**changes):
    return {"class_name": "PolynomialDecay", "config": POLYNOMIAL | changes}


def constant(**changes):
    settings = {"target_sparsity": 0.5, "begin_step": 100, "end_step": 110, "frequency": 10}
    return {"class_name": "ConstantSparsity", "config": settings | changes}


def test_a_polynomial_decay_is_taken_as_it_is():
    assert schedule_from_tfmot(decay()) == PolynomialDecay(
        initial_sparsity=0.2,
        final_sparsity=0.8,
        begin_step=100,
        end_step=110,
        power=3,
        frequency=10,
    )


def test_a_constant_sparsity_is_taken_as_it_is():
    assert schedule_from_tfmot(constant()) == Constant(
        target_sparsity=0.5, begin_step=100, end_step=110, frequency=10
    )


def test_an_end_of_minus_one_is_for_ever_in_constant_sparsity():
    assert schedule_from_tfmot(constant(end_step=-1)).end_step is None


def test_what_the_config_leaves_out_has_the_toolkits_default():
    config = {key: value for key, value in POLYNOMIAL.items() if key not in {"power", "frequency"}}

    schedule = schedule_from_tfmot({"class_name": "PolynomialDecay", "config": config})

    assert (schedule.power, schedule.frequency) == (3, 100)
    assert schedule_from_tfmot(
        {"class_name": "ConstantSparsity", "config": {"target_sparsity": 0.5, "begin_step": 7}}
    ) == Constant(target_sparsity=0.5, begin_step=7, frequency=100)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"class_name": "PruningPolicy", "config": {}}, "class_name"),
        ({}, "class_name"),
        ({"class_name": ["PolynomialDecay"], "config": {}}, "class_name"),
        ({"class_name": "PolynomialDecay"}, "config"),
        (decay(end_step=-1), "config/end_step"),
        (decay(final_sparsity=80), "config/final_sparsity"),
        (decay(power="3"), "config/power"),
        (decay(frequency=True), "config/frequency"),
        (decay(rounds=3), "config/rounds"),
        (constant(begin_step=-1), "config/begin_step"),
        (
            {"class_name": "PolynomialDecay", "config": {"begin_step": 0, "end_step": 10}},
            "config/final_sparsity",
        ),
    ],
)
def test_what_has_no_equivalent_is_refused_by_name(config, field):
    with pytest.raises(PruningConfigError, match="Received: ") as caught:
        schedule_from_tfmot(config)

    assert caught.value.field == field


WRAPPER = {
    "name": "prune_low_magnitude_dense",
    "trainable": True,
    "dtype": "float32",
    "layer": {"class_name": "Dense", "config": {"units": 10}},
    "pruning_schedule": decay(),
    "block_size": [1, 1],
    "block_pooling_type": "AVG",
}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param(
            {},
            PruningConfig(schedule=Constant(target_sparsity=0.5, frequency=100)),
            id="nothing: its defaults",
        ),
        pytest.param(
            {"pruning_schedule": decay()},
            PruningConfig(schedule=schedule_from_tfmot(decay())),
            id="the arguments of prune_low_magnitude",
        ),
        pytest.param(
            WRAPPER, PruningConfig(schedule=schedule_from_tfmot(decay())), id="a wrapper's config"
        ),
        pytest.param(
            {"class_name": "PruneLowMagnitude", "config": WRAPPER},
            PruningConfig(schedule=schedule_from_tfmot(decay())),
            id="a wrapper",
        ),
        pytest.param(
            {"block_size": (2, 3), "block_pooling_type": "MAX", "pruning_policy": None},
            PruningConfig(
                schedule=Constant(target_sparsity=0.5, frequency=100),
                granularity=Block(block_size=(2, 3), pooling="max"),
            ),
            id="blocks",
        ),
        pytest.param(
            {"block_size": [4, 1]},
            PruningConfig(
                schedule=Constant(target_sparsity=0.5, frequency=100), granularity=Block()
            ),
            id="blocks by their mean",
        ),
        pytest.param(
            {"sparsity_m_by_n": [1, 4]},
            PruningConfig(schedule=Constant(frequency=100), granularity=NOfM(zeros=1)),
            id="1 by 4, as far as it goes",
        ),
        pytest.param(
            {"sparsity_m_by_n": (2, 4), "pruning_schedule": constant()},
            PruningConfig(schedule=schedule_from_tfmot(constant()), granularity=NOfM()),
            id="2 by 4, and when",
        ),
    ],
)
def test_settings_are_translated(settings, expected):
    assert config_from_tfmot(settings) == expected


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"sparsity": 0.5}, "sparsity"),
        ({"pruning_policy": "PruneForLatencyOnXNNPack"}, "pruning_policy"),
        ({"pruning_schedule": "ConstantSparsity"}, "pruning_schedule"),
        ({"pruning_schedule": {"class_name": "Cosine"}}, "pruning_schedule/class_name"),
        (
            {"pruning_schedule": decay(final_sparsity=80)},
            "pruning_schedule/config/final_sparsity",
        ),
        ({"pruning_schedule": decay(rounds=3)}, "pruning_schedule/config/rounds"),
        ({"block_size": (4,)}, "block_size"),
        ({"block_size": (0, 1)}, "block_size"),
        ({"block_size": "4x1"}, "block_size"),
        ({"block_pooling_type": "SUM"}, "block_pooling_type"),
        ({"sparsity_m_by_n": (4, 4)}, "sparsity_m_by_n"),
        ({"sparsity_m_by_n": 2}, "sparsity_m_by_n"),
        ({"sparsity_m_by_n": (2, 4), "block_size": (4, 1)}, "block_size"),
        (
            {"sparsity_m_by_n": (2, 4), "pruning_schedule": decay()},
            "pruning_schedule/config/final_sparsity",
        ),
        (
            {"sparsity_m_by_n": (1, 4), "pruning_schedule": constant()},
            "pruning_schedule/config/target_sparsity",
        ),
        ({"class_name": "PruneLowMagnitude"}, "config"),
        (
            {"class_name": "PruneLowMagnitude", "config": WRAPPER | {"block_size": 4}},
            "config/block_size",
        ),
    ],
)
def test_settings_without_an_equivalent_are_refused_by_their_place(settings, field):
    with pytest.raises(PruningConfigError, match="Received: ") as caught:
        config_from_tfmot(settings)

    assert caught.value.field == field


# pruning_schedule_test: sparsity of polynomial decay from 0.2 to 0.8 over steps 100 to 110.
@pytest.mark.parametrize(
    ("power", "step", "sparsity"),
    [
        (1, 100, 0.2),
        (1, 102, 0.32),
        (1, 105, 0.5),
        (1, 110, 0.8),
        (3, 100, 0.2),
        (3, 102, 0.4928),
        (3, 105, 0.725),
        (3, 110, 0.8),
    ],
)
def test_sparsities_are_the_toolkits(power, step, sparsity):
    schedule = schedule_from_tfmot(decay(power=power))

    assert schedule.sparsity_at(step) == pytest.approx(sparsity)


# pruning_schedule_test: which steps update the mask, for steps 100 to 110 every 3 or 10.
@pytest.mark.parametrize(
    ("step", "frequency", "prunes"),
    [
        (99, 10, False),
        (100, 10, True),
        (109, 10, False),
        (110, 10, True),
        (111, 10, False),
        (103, 3, True),
        (104, 3, False),
        (109, 3, True),
    ],
)
def test_update_steps_are_the_toolkits(step, frequency, prunes):
    schedule = schedule_from_tfmot(constant(frequency=frequency))

    assert (schedule.last_update(step) == step) is prunes


# pruning_impl_test: unstructured masks.
@pytest.mark.parametrize(
    ("weights", "sparsity", "pruned"),
    [
        (np.arange(1.0, 11.0), 0.2, {1, 2}),
        (np.linspace(1, 100, 100), 0.5, set(range(1, 51))),
    ],
)
def test_masks_are_the_toolkits(weights, sparsity, pruned):
    mask = keep_highest(np.abs(weights), sparsity)

    assert set(weights[~mask]) == pruned


def test_conditional_updates_leave_what_the_toolkits_leave():
    # pruning_impl_test: 100 weights, 0.1 more at steps 1, 3, 5 of ten, at 0.1, 0.3 and 0.5.
    weights = np.linspace(1, 100, 100)
    sparsity_of_update = {1: 0.1, 3: 0.3, 5: 0.5}

    left = []
    for step in range(10):
        if step in sparsity_of_update:
            weights = np.where(keep_highest(weights, sparsity_of_update[step]), weights, 0)
        left.append(np.count_nonzero(weights))

    assert left == [100, 90, 90, 70, 70, 50, 50, 50, 50, 50]


def mask_of(weights, granularity, sparsity, class_name="Dense"):
    lies = layout(class_name, "kernel", rank=weights.ndim)
    kernel = Kernel(weights.shape, granularity, lies)
    (mask,) = masks(Uniform(), [kernel], [np.abs(weights)], Level(sparsity, sparsity))
    return mask


# pruning_impl_test: 4x4 with blocks of 2x2 at 0.5, by the mean and by the maximum.
@pytest.mark.parametrize(
    ("pooling", "weights", "expected"),
    [
        (
            "mean",
            [
                [0.1, 0.1, 0.2, 0.2],
                [0.1, 0.1, 0.2, 0.2],
                [0.3, 0.3, 0.4, 0.4],
                [0.3, 0.3, 0.4, 0.4],
            ],
            [[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]],
        ),
        (
            "max",
            [
                [0.1, 0.0, 0.2, 0.0],
                [0.0, -0.1, 0.0, -0.2],
                [0.3, 0.0, 0.4, 0.0],
                [0.0, -0.3, 0.0, -0.4],
            ],
            [[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]],
        ),
    ],
)
def test_blocks_are_the_toolkits(pooling, weights, expected):
    mask = mask_of(np.array(weights), Block(block_size=(2, 2), pooling=pooling), 0.5)

    assert mask.astype(int).tolist() == expected


# prune_integration_test: 2 of 4 along 7 input channels, of a Dense and of a convolution.
@pytest.mark.parametrize(("class_name", "shape"), [("Dense", (7, 3)), ("Conv2D", (3, 3, 7, 4))])
def test_two_of_four_over_seven_channels_leaves_the_toolkits_sparsity(class_name, shape):
    weights = np.random.default_rng(0).normal(size=shape)

    mask = mask_of(weights, NOfM(), 0.5, class_name)

    assert np.count_nonzero(~mask) / mask.size == 3 / 7


# Where the toolkit is wrong, and this is right on purpose.
def test_equal_weights_are_pruned_to_the_exact_count():
    assert keep_highest(np.ones(4), 0.5).tolist() == [True, True, False, False]


def test_blocks_of_a_column_that_they_do_not_divide_begin_at_its_first_entry():
    mask = mask_of(np.array([[1.0], [1], [1], [9], [9]]), Block(block_size=(4, 1)), 0.5)

    assert mask.ravel().tolist() == [False, False, False, False, True]


def test_a_range_that_frequency_does_not_divide_ends_at_the_target():
    schedule = schedule_from_tfmot(
        decay(initial_sparsity=0.5, begin_step=0, end_step=150, frequency=100)
    )

    assert schedule.sparsity_at(schedule.last_update(10_000)) == 0.8
