import keras
import pytest
from keras import layers

from pruning_core.catalogue import Layout
from pruning_core.config import LayerRule, NOfM, PruningConfig
from pruning_core.errors import PruningConfigError, UnsupportedModelError
from pruning_core.schedule import OneShot
from pruning_core.selection import Skip, select, select_pruned


def pruned_names(model, config=None):
    return [entry.name for entry in select_pruned(model, config or PruningConfig())]


def reasons(model, config=None):
    return {
        entry.name: entry.decision.reason
        for entry in select(model, config or PruningConfig())
        if isinstance(entry.decision, Skip)
    }


def sequential(*parts, shape=(8, 4)):
    return keras.Sequential([keras.Input(shape), *parts])


class Blend(layers.Layer):
    """A layer nobody has heard of, with a layer of its own inside."""

    def build(self, input_shape):
        self.mix = self.add_weight(shape=(input_shape[-1], 4), name="mix")
        self.inner = layers.Dense(4, name="inner")
        self.inner.build(input_shape)

    def call(self, inputs):
        return inputs @ self.mix + self.inner(inputs)


class OutspokenBlend(Blend):
    prunable_weights = ("mix",)


class Tall(layers.Dense):
    """A built-in layer's heir."""


class Ticker(layers.Layer):
    prunable_weights = ("count",)

    def build(self, input_shape):
        del input_shape
        self.count = self.add_weight(shape=(4,), dtype="int32", name="count", trainable=False)

    def call(self, inputs):
        return inputs


class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [layers.Dense(4, name="first"), layers.Dense(2, name="second")]

    def call(self, inputs):
        return self.blocks[1](self.blocks[0](inputs))


@pytest.mark.parametrize(
    ("part", "names"),
    [
        (layers.Dense(2, name="a"), ["a/kernel"]),
        (layers.Conv1D(2, 3, name="a"), ["a/kernel"]),
        (layers.SeparableConv1D(2, 3, name="a"), ["a/pointwise_kernel"]),
        (layers.LSTM(2, name="a"), ["a/kernel", "a/recurrent_kernel"]),
        (layers.GRU(2, name="a"), ["a/kernel", "a/recurrent_kernel"]),
        (layers.SimpleRNN(2, name="a"), ["a/kernel", "a/recurrent_kernel"]),
        (
            layers.RNN(layers.LSTMCell(2, name="cell"), name="a"),
            ["a/cell/kernel", "a/cell/recurrent_kernel"],
        ),
        (
            layers.RNN(
                layers.StackedRNNCells([layers.GRUCell(2, name="cell")], name="stack"), name="a"
            ),
            ["a/stack/cell/kernel", "a/stack/cell/recurrent_kernel"],
        ),
        (
            layers.Bidirectional(layers.LSTM(2, name="lstm"), name="a"),
            [
                "a/forward_lstm/kernel",
                "a/forward_lstm/recurrent_kernel",
                "a/backward_lstm/kernel",
                "a/backward_lstm/recurrent_kernel",
            ],
        ),
        (layers.TimeDistributed(layers.Dense(2, name="b"), name="a"), ["a/b/kernel"]),
        (layers.SpectralNormalization(layers.Dense(2, name="b"), name="a"), ["a/b/kernel"]),
        (layers.EinsumDense("abc,cd->abd", (8, 2), name="a"), ["a/kernel"]),
        (sequential(layers.Dense(2, name="b")), ["inner/b/kernel"]),
        (Blend(name="a"), ["a/inner/kernel"]),
        (OutspokenBlend(name="a"), ["a/mix", "a/inner/kernel"]),
        (Tall(2, name="a"), ["a/kernel"]),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, list) else type(value).__name__,
)
def test_the_weights_that_are_pruned_are(part, names):
    if isinstance(part, keras.Sequential):
        part.name = "inner"

    assert pruned_names(sequential(part)) == names


def test_the_projections_of_attention_are_pruned():
    inputs = keras.Input((8, 4))
    attention = layers.MultiHeadAttention(2, 3, name="attention")
    model = keras.Model(inputs, attention(inputs, inputs))

    assert pruned_names(model) == [
        f"attention/{part}/kernel" for part in ("query", "key", "value", "attention_output")
    ]


def test_a_subclassed_model_is_walked():
    model = Subclassed()
    model(keras.ops.ones((1, 3)))

    assert pruned_names(model) == ["first/kernel", "second/kernel"]


def test_a_shared_layer_is_listed_once():
    shared = layers.Dense(4, name="shared")
    one, other = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([one, other], shared(one) + shared(other))

    assert [entry.name for entry in select(model, PruningConfig())] == [
        "shared/kernel",
        "shared/bias",
    ]


def test_a_layer_in_two_nested_models_goes_by_its_first_path():
    shared = layers.Dense(4, name="shared")
    one, other = (
        keras.Sequential([keras.Input((4,)), shared], name=name) for name in ("one", "other")
    )
    inputs = keras.Input((4,))
    model = keras.Model(inputs, other(one(inputs)))

    assert pruned_names(model) == ["one/shared/kernel"]
    with pytest.raises(PruningConfigError, match="closest names are one/shared"):
        select(model, PruningConfig(layers=(LayerRule(match="other/shared"),)))


def test_a_weight_that_two_layers_share_is_listed_once():
    class Tied(layers.Layer):
        def build(self, input_shape):
            del input_shape
            self.own = first.kernel

        def call(self, inputs):
            return inputs @ self.own

    first = layers.Dense(4, name="first")
    model = sequential(first, Tied(), shape=(4,))

    assert [entry.name for entry in select(model, PruningConfig())] == [
        "first/kernel",
        "first/bias",
    ]


def test_what_is_skipped_has_its_reason():
    frozen = layers.Dense(4, name="frozen", trainable=False)
    model = sequential(
        layers.BatchNormalization(name="norm"),
        frozen,
        Ticker(name="ticker"),
        Blend(name="blend"),
        layers.Dense(4, name="kept"),
        layers.Dense(2, name="dense"),
    )
    config = PruningConfig(layers=(LayerRule(match="ke*", skip=True),))

    found = reasons(model, config)

    assert found["norm/gamma"] == "normalisation weights are not pruned"
    assert found["frozen/kernel"] == "its layer is frozen (trainable is False)"
    assert found["ticker/count"] == "int32 weights are not pruned"
    assert found["blend/mix"] == "no rule says which weights of Blend can be pruned"
    assert found["kept/kernel"] == "skipped: its name matches 'ke*'"
    assert found["dense/bias"] == "biases are few and carry much: not pruned"
    assert pruned_names(model, config) == ["blend/inner/kernel", "dense/kernel"]


def test_the_models_own_weights_go_by_its_name():
    class WithOwn(keras.Model):
        def build(self, input_shape):
            del input_shape
            self.scale = self.add_weight(shape=(1,), name="scale")

        def call(self, inputs):
            return inputs * self.scale

    model = WithOwn(name="root")
    model.build((None, 3))

    assert list(reasons(model)) == ["root/scale"]


def test_a_rule_gives_its_layers_a_schedule_of_their_own():
    own = OneShot(target_sparsity=0.5)
    config = PruningConfig(layers=(LayerRule(match="a", schedule=own), LayerRule(match="b")))
    model = sequential(*(layers.Dense(2, name=name) for name in "abc"))

    schedules = {entry.layer: entry.decision.schedule for entry in select_pruned(model, config)}

    assert schedules == {"a": own, "b": config.schedule, "c": config.schedule}


def test_a_rule_for_a_nested_model_holds_for_everything_inside():
    inner = sequential(layers.Dense(2, name="a"), layers.Dense(2, name="b"))
    inner.name = "inner"
    model = sequential(inner, layers.Dense(2, name="c"))
    config = PruningConfig(layers=(LayerRule(match="inner", skip=True),))

    assert pruned_names(model, config) == ["c/kernel"]


def attention():
    inputs = keras.Input((8, 4))
    mixed = layers.MultiHeadAttention(2, 3, name="attention")(inputs, inputs)
    return keras.Model(inputs, layers.Dense(2, name="head")(mixed))


def test_a_rule_for_a_class_holds_for_everything_inside():
    config = PruningConfig(layers=(LayerRule(type="MultiHeadAttention", skip=True),))

    assert pruned_names(attention(), config) == ["head/kernel"]


def test_a_rule_means_an_heir_by_its_own_class_and_by_the_built_in_one():
    model = sequential(Tall(2, name="a"), layers.Dense(2, name="b"))

    by_own, by_built_in = (
        PruningConfig(layers=(LayerRule(type=name, skip=True),)) for name in ("Tall", "Dense")
    )

    assert pruned_names(model, by_own) == ["b/kernel"]
    assert set(reasons(model, by_built_in)) >= {"a/kernel", "b/kernel"}


def test_the_kernels_of_attention_lie_as_their_equations_say():
    decisions = {
        entry.layer: entry.decision for entry in select_pruned(attention(), PruningConfig())
    }

    assert decisions["attention/query"].layout == Layout((0,), (1, 2), 0)
    assert decisions["attention/attention_output"].layout == Layout((0, 1), (2,), 1)


def test_depthwise_kernels_are_pruned_on_request():
    model = sequential(
        layers.DepthwiseConv1D(3, name="one"), layers.SeparableConv1D(4, 3, name="other")
    )
    config = PruningConfig(layers=(LayerRule(skip=False),))

    assert pruned_names(model) == ["other/pointwise_kernel"]
    assert pruned_names(model, config) == [
        "one/kernel",
        "other/depthwise_kernel",
        "other/pointwise_kernel",
    ]


def test_what_cannot_be_had_in_the_asked_units_is_skipped_with_its_reason():
    model = sequential(layers.Embedding(9, 4, name="words"), layers.LSTM(2, name="a"), shape=(8,))
    config = PruningConfig(granularity=NOfM())

    assert "no input channels" in reasons(model, config)["words/embeddings"]
    assert pruned_names(model, config) == ["a/kernel", "a/recurrent_kernel"]


@pytest.mark.parametrize(
    ("rule", "field", "message"),
    [
        (
            LayerRule(type="Desne"),
            "layers/0/type",
            "Received: 'Desne'; the closest names are Dense",
        ),
        (
            LayerRule(type="LSTM", match="a"),
            "layers/0/type",
            "Received: 'LSTM'",
        ),
        (
            LayerRule(type="Dense", match="b"),
            "layers/0/match",
            "Received: 'b'; the closest names are a",
        ),
    ],
)
def test_a_rule_that_covers_no_layer_is_refused_by_what_is_wrong(rule, field, message):
    model = sequential(layers.Dense(2, name="a"), layers.Flatten(name="b"))

    with pytest.raises(PruningConfigError, match=message) as caught:
        select(model, PruningConfig(layers=(rule,)))

    assert caught.value.field == field


def test_a_rule_that_matches_no_layer_is_refused_by_its_place():
    model = sequential(layers.Dense(2, name="a"), layers.Dense(2, name="predictions"))
    config = PruningConfig(layers=(LayerRule(match="a"), LayerRule(match="prediction", skip=True)))

    with pytest.raises(
        PruningConfigError, match=r"Received: 'prediction'; the closest.* predictions"
    ) as caught:
        select(model, config)

    assert caught.value.field == "layers/1/match"


@pytest.mark.parametrize(
    ("part", "evidence"),
    [
        (layers.Flatten(), "a model without weights"),
        (layers.Dense(2, name="a", trainable=False), "a/kernel: its layer is frozen"),
    ],
)
def test_a_model_with_nothing_to_prune_is_refused(part, evidence):
    with pytest.raises(UnsupportedModelError, match=evidence):
        select_pruned(sequential(part), PruningConfig())


def test_a_model_that_is_not_built_is_refused():
    model = keras.Sequential([layers.Dense(2)])

    with pytest.raises(UnsupportedModelError, match="must be built"):
        select(model, PruningConfig())
