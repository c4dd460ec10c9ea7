import pytest

from pruning_core.config import (
    Block,
    Channel,
    ErdosRenyiKernel,
    Global,
    LayerAdaptive,
    LayerRule,
    NOfM,
    PruningConfig,
    Uniform,
)
from pruning_core.errors import PruningConfigError
from pruning_core.schedule import Constant, Iterative, OneShot, PolynomialDecay


@pytest.mark.parametrize(
    ("match", "path", "covers"),
    [
        ("dense", "dense", True),
        ("dense", "dense_1", False),
        ("dense*", "dense_1", True),
        ("dense", "encoder/dense", True),
        ("encoder", "encoder/dense", True),
        ("encoder/dense", "encoder/dense", True),
        ("encoder/*", "encoder/block/dense", True),
        ("block/dense", "encoder/block/dense", False),
        ("Dense", "dense", False),
        ("conv2d_[12]", "conv2d_3", False),
    ],
)
def test_a_rule_covers_by_name_or_glob(match, path, covers):
    assert LayerRule(match=match, skip=True).covers(path) is covers


@pytest.mark.parametrize(
    ("rule", "covers"),
    [
        pytest.param(LayerRule(type="Dense"), True, id="its own class"),
        pytest.param(LayerRule(type="Bidirectional"), True, id="what it is inside of"),
        pytest.param(LayerRule(type="Conv2D"), False, id="another class"),
        pytest.param(LayerRule(type="dense"), False, id="case matters"),
        pytest.param(LayerRule(type="Dense*"), False, id="a class is no glob"),
        pytest.param(LayerRule(match="encoder", type="Dense"), True, id="both hold"),
        pytest.param(LayerRule(match="decoder", type="Dense"), False, id="only the class holds"),
        pytest.param(LayerRule(), True, id="everything"),
    ],
)
def test_a_rule_covers_by_class(rule, covers):
    assert rule.covers("encoder/dense", ("Bidirectional", "Dense")) is covers


def test_the_first_rule_that_matches_wins():
    first, second = LayerRule(match="conv*", skip=True), LayerRule(match="conv2d")
    config = PruningConfig(layers=(first, second))

    assert config.rule_for("conv2d") is first
    assert config.rule_for("dense") is None


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"match": ""}, "match"),
        ({"type": ""}, "type"),
        ({"match": "a", "skip": True, "granularity": Channel()}, "skip"),
        ({"match": "a", "skip": True, "schedule": OneShot()}, "skip"),
    ],
)
def test_a_rule_that_contradicts_itself_is_refused(settings, field):
    with pytest.raises(PruningConfigError) as caught:
        LayerRule(**settings)

    assert caught.value.field == field


def test_what_no_number_can_mean_is_refused():
    for granularity, settings, field in [
        (Block, {"block_size": (4, 0)}, "block_size"),
        (NOfM, {"zeros": 0}, "zeros"),
        (NOfM, {"zeros": 4, "group": 4}, "group"),
        (Global, {"floor": 1.1}, "floor"),
        (Global, {"floor": -0.1}, "floor"),
    ]:
        with pytest.raises(PruningConfigError, match=r"Received: ") as caught:
            granularity(**settings)

        assert caught.value.field == field


def test_every_schedule_is_resolved():
    config = PruningConfig(
        schedule=PolynomialDecay(),
        layers=(
            LayerRule(match="a", skip=True),
            LayerRule(match="b", schedule=Constant(target_sparsity=0.5)),
        ),
    )

    resolved = config.resolved(total_steps=100)

    assert resolved.schedule == PolynomialDecay(final_sparsity=0.8, end_step=75, frequency=1)
    assert resolved.layers[0] == config.layers[0]
    assert resolved.layers[1].schedule == Constant(target_sparsity=0.5, end_step=100, frequency=2)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (PruningConfig(schedule=PolynomialDecay(end_step=101)), "schedule/end_step"),
        (
            PruningConfig(
                layers=(
                    LayerRule(match="a", skip=True),
                    LayerRule(match="b", schedule=OneShot(begin_step=101)),
                )
            ),
            "layers/1/schedule/begin_step",
        ),
    ],
)
def test_a_schedule_that_is_too_long_is_refused_by_its_place(config, field):
    with pytest.raises(PruningConfigError) as caught:
        config.resolved(total_steps=100)

    assert caught.value.field == field


@pytest.mark.parametrize(
    ("asked", "total_steps", "allocation"),
    [
        (None, 100, Uniform()),
        (None, 0, LayerAdaptive()),
        (ErdosRenyiKernel(), 0, ErdosRenyiKernel()),
        (Global(), 100, Global()),
    ],
)
def test_an_open_allocation_depends_on_whether_there_is_a_training(asked, total_steps, allocation):
    assert PruningConfig(allocation=asked).resolved(total_steps).allocation == allocation


def last_sparsities(config):
    resolved = config.resolved(total_steps=100)
    return [
        None if rule.schedule is None else rule.schedule.last_sparsity
        for rule in (resolved, *resolved.layers)
    ]


@pytest.mark.parametrize(
    ("config", "sparsities"),
    [
        pytest.param(PruningConfig(), [0.8], id="nothing is said"),
        pytest.param(PruningConfig(granularity=NOfM()), [0.5], id="the pattern says it"),
        pytest.param(
            PruningConfig(granularity=NOfM(), schedule=OneShot(target_sparsity=0.5)),
            [0.5],
            id="the pattern and the schedule agree",
        ),
        pytest.param(
            PruningConfig(layers=(LayerRule(granularity=NOfM(zeros=1)),)),
            [0.8, 0.25],
            id="a rule takes the run's open schedule to its pattern",
        ),
        pytest.param(
            PruningConfig(
                granularity=NOfM(zeros=1),
                layers=(LayerRule(match="a"), LayerRule(schedule=Iterative())),
            ),
            [0.25, None, 0.25],
            id="a rule's open schedule leads to the run's pattern",
        ),
        pytest.param(
            PruningConfig(
                granularity=NOfM(),
                layers=(LayerRule(granularity=Channel(), schedule=Constant()),),
            ),
            [0.5, 0.8],
            id="a rule without a pattern",
        ),
        pytest.param(
            PruningConfig(
                schedule=Constant(target_sparsity=0.5), layers=(LayerRule(granularity=NOfM()),)
            ),
            [0.5, None],
            id="the run ends at a rule's pattern",
        ),
    ],
)
def test_a_sparsity_that_was_left_open_is(config, sparsities):
    assert last_sparsities(config) == sparsities


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (
            {"granularity": NOfM(), "schedule": PolynomialDecay(final_sparsity=0.8)},
            "schedule/final_sparsity",
        ),
        (
            {"granularity": NOfM(), "schedule": OneShot(target_sparsity=0.8)},
            "schedule/target_sparsity",
        ),
        (
            {"granularity": NOfM(), "schedule": PolynomialDecay(initial_sparsity=0.6)},
            "schedule/final_sparsity",
        ),
        (
            {
                "granularity": NOfM(),
                "layers": (
                    LayerRule(match="a"),
                    LayerRule(match="b", schedule=Iterative(final_sparsity=0.6)),
                ),
            },
            "layers/1/schedule/final_sparsity",
        ),
        (
            {
                "schedule": PolynomialDecay(final_sparsity=0.8),
                "layers": (LayerRule(match="b", granularity=NOfM()),),
            },
            "layers/0/schedule",
        ),
    ],
)
def test_a_schedule_that_does_not_lead_to_its_pattern_is_refused_by_its_place(settings, field):
    with pytest.raises(PruningConfigError, match=r"Received: ") as caught:
        PruningConfig(**settings)

    assert caught.value.field == field


def test_an_open_sparsity_below_the_initial_one_is_refused_by_its_place():
    config = PruningConfig(layers=(LayerRule(schedule=PolynomialDecay(initial_sparsity=0.9)),))

    with pytest.raises(PruningConfigError) as caught:
        config.with_sparsities()

    assert caught.value.field == "layers/0/schedule/final_sparsity"
