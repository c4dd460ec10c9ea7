import pytest

from pruning_core.catalogue import Layout
from pruning_core.config import Block, Channel, LayerRule, NOfM, PruningConfig, Unstructured
from pruning_core.decision import Prune, Skip, Weight, decide
from pruning_core.schedule import OneShot, PolynomialDecay


def weight(**changes):
    facts = {
        "path": "encoder/dense",
        "types": ("Sequential", "Dense"),
        "class_name": "Dense",
        "name": "kernel",
        "rank": 2,
        "dtype": "float32",
        "is_trainable": True,
    }
    return Weight(**facts | changes)


def depthwise(**changes):
    return weight(class_name="DepthwiseConv2D", types=("DepthwiseConv2D",), rank=4, **changes)


def with_rule(**settings):
    return PruningConfig(layers=(LayerRule(**settings),))


def reason(weight, config):
    decision = decide(weight, config)
    return decision.reason if isinstance(decision, Skip) else None


def test_a_kernel_is_pruned_as_the_run_says():
    assert decide(weight(), PruningConfig(granularity=Channel())) == Prune(
        PolynomialDecay(), Channel(), Layout((0,), (1,), 0)
    )


def test_a_rule_changes_what_it_names_and_no_more():
    own = OneShot(target_sparsity=0.5)

    assert decide(weight(), with_rule(type="Sequential", schedule=own)) == Prune(
        own, Unstructured(), Layout((0,), (1,), 0)
    )
    assert decide(weight(), with_rule(match="encoder", granularity=Block())) == Prune(
        PolynomialDecay(), Block(), Layout((0,), (1,), 0)
    )


@pytest.mark.parametrize(
    ("weight", "config", "expected"),
    [
        (weight(name="bias", rank=1), PruningConfig(), "biases"),
        (weight(name="bias", rank=1), with_rule(skip=False), "biases"),
        (weight(dtype="int8"), PruningConfig(), "int8 weights are not pruned"),
        (weight(dtype="bfloat16"), PruningConfig(), None),
        (weight(is_trainable=False), PruningConfig(), "frozen"),
        (weight(class_name="Blend"), PruningConfig(), "no rule says"),
        (weight(class_name="Blend", is_declared=True), PruningConfig(), None),
        (weight(), with_rule(match="enc*", skip=True), "skipped: its name matches 'enc*'"),
        (weight(), with_rule(type="Dense", skip=True), "skipped: its class matches 'Dense'"),
        (
            weight(),
            with_rule(match="encoder", type="Dense", skip=True),
            "skipped: its name matches 'encoder', its class matches 'Dense'",
        ),
        (depthwise(), PruningConfig(), "depthwise"),
        (depthwise(), with_rule(match="dense"), "depthwise"),
        (depthwise(), with_rule(skip=False), None),
        (depthwise(), with_rule(skip=True), "depthwise"),
        (depthwise(), with_rule(skip=False, granularity=NOfM()), "no input channels"),
        (weight(is_answer=True), PruningConfig(), None),
        (weight(is_answer=True), PruningConfig(granularity=Channel()), "outputs are the model's"),
        (weight(is_answer=True), with_rule(skip=False, granularity=Channel()), None),
        (weight(name="bias", rank=1), PruningConfig(granularity=Channel()), "only with its filter"),
        (
            weight(name="bias", rank=1, is_trainable=False),
            PruningConfig(granularity=Channel()),
            "biases",
        ),
        (
            weight(name="bias", rank=1, class_name="LSTM"),
            PruningConfig(granularity=Channel()),
            "biases",
        ),
        (depthwise(), with_rule(skip=False, granularity=Channel()), None),
        (
            weight(class_name="Embedding", name="embeddings"),
            PruningConfig(granularity=NOfM()),
            "no input channels",
        ),
        (
            weight(class_name="Blend", is_declared=True, rank=1),
            PruningConfig(granularity=Channel()),
            "channel needs a matrix",
        ),
        (weight(class_name="Blend", is_declared=True, rank=1), PruningConfig(), None),
    ],
)
def test_what_is_skipped_says_why(weight, config, expected):
    found = reason(weight, config)

    assert found is None if expected is None else expected in found
