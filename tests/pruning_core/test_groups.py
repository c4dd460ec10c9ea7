"""Granularities and allocations on a model: what is promised, and what is zero."""

import keras
import numpy as np
import pytest
from keras import layers

import pruning_core as pc
from pruning_core.allocation import forecast
from pruning_core.groups import by_schedule

RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 6, 6, 4)).astype("float32")
Y = RNG.normal(size=(16, 3)).astype("float32")


def model():
    keras.utils.set_random_seed(1)
    built = keras.Sequential(
        [
            keras.Input((6, 6, 4)),
            layers.Conv2D(8, 3, name="conv"),
            layers.DepthwiseConv2D(3, name="depthwise"),
            layers.Flatten(),
            layers.Dense(12, name="hidden"),
            layers.Dense(3, name="head"),
        ]
    )
    built.compile("sgd", "mse")
    return built


def counted(pruned):
    """Zeros in the tensors that are pruned, and how many weights they have."""
    tensors = [tensor for tensor in pruned.tensors if tensor.pruned]
    return [tensor.zeros for tensor in tensors], [tensor.size for tensor in tensors]


@pytest.mark.parametrize(
    "allocation", [pc.Uniform(), pc.Global(), pc.ErdosRenyiKernel(), pc.LayerAdaptive()]
)
def test_every_allocation_makes_the_total(allocation):
    config = pc.PruningConfig(schedule=pc.OneShot(target_sparsity=0.5), allocation=allocation)

    zeros, sizes = counted(pc.prune(model(), config=config).report)

    assert sizes == [288, 8 * 4 * 12, 36]
    assert sum(zeros) == sum(sizes) // 2
    if isinstance(allocation, pc.Uniform):
        assert zeros == [size // 2 for size in sizes]


@pytest.mark.parametrize(
    ("granularity", "zeros"),
    [
        (pc.Block(block_size=(4, 1)), [144, 192, 4 * 4]),
        (pc.NOfM(zeros=1, group=4), [72, 96, 9]),
        (pc.Channel(), [144, 192]),
    ],
)
def test_every_granularity_prunes_its_units(granularity, zeros):
    schedule = pc.OneShot(target_sparsity=0.25 if isinstance(granularity, pc.NOfM) else 0.5)
    config = pc.PruningConfig(
        schedule=schedule, granularity=granularity, allocation=pc.Uniform()
    ).resolved(0)

    pruned = pc.prune(model(), config=config)

    assert counted(pruned.report)[0] == zeros
    (group,) = by_schedule(pruned.model, config)
    assert list(forecast(group.allocation, group.kernels, group.level_at(0)).weights) == zeros


def test_rules_give_layers_schedules_granularities_and_depthwise_kernels():
    config = pc.PruningConfig(
        schedule=pc.OneShot(),
        allocation=pc.Uniform(),
        layers=(
            pc.LayerRule(match="depthwise", skip=False, schedule=pc.OneShot(target_sparsity=0.25)),
            pc.LayerRule(type="Conv2D", granularity=pc.NOfM()),
            pc.LayerRule(match="head", skip=True),
        ),
    )

    pruned = pc.prune(model(), config=config)

    assert [tensor.zeros for tensor in pruned.report.tensors if tensor.pruned] == [144, 18, 307]


@pytest.mark.parametrize(
    "settings",
    [
        {"allocation": pc.Global()},
        {"granularity": pc.NOfM()},
    ],
    ids=lambda settings: next(iter(settings.values())).kind,
)
def test_the_sparsity_follows_the_schedule_after_every_step(settings):
    config = pc.PruningConfig(
        schedule=pc.PolynomialDecay(final_sparsity=0.5, end_step=3, frequency=1), **settings
    )
    pruning = pc.Pruning(model(), config, total_steps=4)
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            del batch, logs
            seen.append(pruning.report().sparsity)

    pruning.model.fit(X, Y, batch_size=4, callbacks=[pruning.callback, Look()], verbose=0)

    assert seen == [pruning.sparsity_at(step) for step in (1, 2, 3, 4)]
    assert seen[-1] == 0.5
