import pytest

from pruning_core.config import LayerRule, PruningConfig
from pruning_core.errors import PruningConfigError
from pruning_core.schedule import Constant, OneShot, PolynomialDecay


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


def test_the_first_rule_that_matches_wins():
    first, second = LayerRule(match="conv*", skip=True), LayerRule(match="conv2d")
    config = PruningConfig(layers=(first, second))

    assert config.rule_for("conv2d") is first
    assert config.rule_for("dense") is None


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"match": ""}, "match"),
        ({"match": "a", "skip": True, "schedule": OneShot()}, "skip"),
    ],
)
def test_a_rule_that_contradicts_itself_is_refused(settings, field):
    with pytest.raises(PruningConfigError) as caught:
        LayerRule(**settings)

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

    assert resolved.schedule == PolynomialDecay(end_step=75)
    assert resolved.layers[0] == config.layers[0]
    assert resolved.layers[1].schedule == Constant(target_sparsity=0.5, end_step=100)


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
