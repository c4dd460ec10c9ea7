import keras
import numpy as np
import pytest
from keras import layers

import pruning_core as pc
from pruning_core import compact

CHANCE = np.random.default_rng(0)


def shaken(model):
    """Give every weight a value of its own, statistics of batches too."""
    for variable in model.weights:
        noise = CHANCE.uniform(0.5, 1.5, variable.shape)
        sign = CHANCE.choice([-1, 1], variable.shape) if "variance" not in variable.name else 1
        variable.assign(noise * sign * 0.3)
    return model


def empty(layer, channels, *, behind=None):
    """Set filters or units of a layer to zero, with what the layer behind adds to them."""
    kernel = layer.kernel.numpy()
    kernel[..., channels] = 0
    layer.kernel.assign(kernel)
    for variable in [layer.bias, *([] if behind is None else [behind.gamma, behind.beta])]:
        if variable is not None:
            values = variable.numpy()
            values[channels] = 0
            variable.assign(values)


def shapes(model):
    return {
        f"{layer.name}/{variable.name}": tuple(variable.shape)
        for layer in model._flatten_layers()
        for variable in layer.weights
        if not isinstance(layer, keras.Model)
    }


def same(model, smaller, inputs):
    expected, received = (each.predict(inputs, verbose=0) for each in (model, smaller))
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)


def pictures(shape=(8, 8, 3)):
    return CHANCE.normal(size=(4, *shape)).astype("float32")


def test_units_go_with_what_reads_them():
    model = shaken(
        keras.Sequential(
            [
                keras.Input((5,)),
                layers.Dense(8, "relu", name="a"),
                layers.Dropout(0.5),
                layers.Dense(6, "tanh", name="b"),
                layers.Dense(3, "softmax", name="c"),
            ]
        )
    )
    empty(model.get_layer("a"), [0, 3, 7])
    empty(model.get_layer("b"), [5])

    smaller = compact(model)

    assert shapes(smaller) == {
        "a/kernel": (5, 5),
        "a/bias": (5,),
        "b/kernel": (5, 5),
        "b/bias": (5,),
        "c/kernel": (5, 3),
        "c/bias": (3,),
    }
    assert isinstance(smaller, keras.Sequential)
    same(model, smaller, CHANCE.normal(size=(4, 5)).astype("float32"))


def test_the_given_model_is_not_touched():
    model = shaken(
        keras.Sequential([keras.Input((5,)), layers.Dense(8, name="a"), layers.Dense(3)])
    )
    empty(model.get_layer("a"), [0])
    before = model.get_weights()

    smaller = compact(model)

    assert all(map(np.array_equal, before, model.get_weights()))
    assert not {id(v) for v in smaller.weights} & {id(v) for v in model.weights}


def test_a_network_without_anything_to_take_out_is_copied():
    model = shaken(keras.Sequential([keras.Input((5,)), layers.Dense(4), layers.Dense(3)]))

    assert shapes(compact(model)) == shapes(model)
    same(model, compact(model), CHANCE.normal(size=(4, 5)).astype("float32"))


def functional(*, residual=False):
    """Convolutions with everything that stands between them."""
    given = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="first")(given)
    x = kept = layers.ReLU(6)(layers.BatchNormalization(name="first_bn")(x))
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depthwise")(x)
    x = layers.BatchNormalization(name="depthwise_bn")(x)
    x = layers.Activation("swish")(x)
    x = layers.Conv2D(8, 1, name="second")(x)
    x = layers.BatchNormalization(name="second_bn")(x)
    if residual:
        x = layers.add([x, kept])
    x = layers.MaxPooling2D()(layers.ZeroPadding2D(1)(x))
    x = layers.Flatten()(x)
    return shaken(keras.Model(given, layers.Dense(4, name="last")(x)))


def test_filters_go_through_normalisation_depthwise_convolutions_and_flattening():
    model = functional()
    empty(model.get_layer("first"), [1, 2], behind=model.get_layer("first_bn"))
    for depthwise in (model.get_layer("depthwise"), model.get_layer("depthwise_bn")):
        for variable in depthwise.trainable_weights:
            values = variable.numpy()
            if variable.name != "kernel":
                values[[2, 3, 4, 5]] = 0
                variable.assign(values)
    empty(model.get_layer("second"), [0, 7, 5], behind=model.get_layer("second_bn"))

    smaller = compact(model)

    assert {name: shape for name, shape in shapes(smaller).items() if "kernel" in name} == {
        "first/kernel": (3, 3, 3, 6),
        "depthwise/kernel": (3, 3, 6, 2),
        "second/kernel": (1, 1, 12, 5),
        "last/kernel": (5 * 5 * 5, 4),
    }
    same(model, smaller, pictures())


def test_what_a_sum_joins_goes_where_all_of_its_terms_are_zero():
    model = functional(residual=True)
    empty(model.get_layer("first"), [1, 2], behind=model.get_layer("first_bn"))
    empty(model.get_layer("second"), [2, 5], behind=model.get_layer("second_bn"))
    for name in ("depthwise", "depthwise_bn"):
        for variable in model.get_layer(name).trainable_weights:
            variable.assign(variable * 0)

    smaller = compact(model)

    kernels = shapes(smaller)
    assert kernels["first/kernel"] == (3, 3, 3, 7)
    assert kernels["second/kernel"] == (1, 1, 14, 7)
    same(model, smaller, pictures())


def test_a_filter_whose_bias_is_left_stays():
    model = shaken(
        keras.Sequential(
            [keras.Input((8, 8, 3)), layers.Conv2D(4, 3, padding="same"), layers.Conv2D(2, 3)]
        )
    )
    kernel = model.layers[0].kernel
    kernel.assign(kernel * [1, 0, 1, 1])

    assert shapes(compact(model)) == shapes(model)


@pytest.mark.parametrize("activation", ["sigmoid", "softplus", "softmax", "exponential"])
def test_a_unit_that_is_not_zero_at_zero_stays(activation):
    model = shaken(
        keras.Sequential([keras.Input((5,)), layers.Dense(4, activation), layers.Dense(3)])
    )
    empty(model.layers[0], [1])

    assert shapes(compact(model)) == shapes(model)


def test_one_channel_stays_where_all_are_zero():
    model = shaken(keras.Sequential([keras.Input((5,)), layers.Dense(4), layers.Dense(3)]))
    empty(model.layers[0], [0, 1, 2, 3])

    smaller = compact(model)

    assert smaller.layers[0].units == 1
    same(model, smaller, CHANCE.normal(size=(4, 5)).astype("float32"))


def test_outputs_of_the_model_stay():
    model = shaken(keras.Sequential([keras.Input((5,)), layers.Dense(4)]))
    empty(model.layers[0], [0, 1])

    assert shapes(compact(model)) == shapes(model)


def test_what_nobody_reads_goes_too():
    model = shaken(keras.Sequential([keras.Input((5,)), layers.Dense(4), layers.Dense(3)]))
    reader = model.layers[1].kernel
    reader.assign(reader * np.array([[1], [0], [1], [1]]))

    smaller = compact(model)

    assert smaller.layers[0].units == 3
    same(model, smaller, CHANCE.normal(size=(4, 5)).astype("float32"))


def test_zeros_go_on_through_a_layer_that_gets_nothing_else():
    model = shaken(
        keras.Sequential(
            [
                keras.Input((5,)),
                layers.Dense(4, "relu"),
                layers.Dense(4, "relu"),
                layers.Dense(3),
            ]
        )
    )
    empty(model.layers[0], [0, 1])
    second = model.layers[1].kernel
    second.assign(second * np.array([[1, 1, 1, 1]] * 2 + [[0, 1, 1, 1]] * 2))
    model.layers[1].bias.assign([0, 1, 1, 1])

    smaller = compact(model)

    assert [layer.units for layer in smaller.layers] == [2, 3, 3]
    same(model, smaller, CHANCE.normal(size=(4, 5)).astype("float32"))


@keras.saving.register_keras_serializable("test_compaction")
class Unknown(layers.Layer):
    """Of which nobody knows what it does to channels."""

    def call(self, x):
        return keras.ops.flip(x, axis=-1)


def shared(x):
    twice = layers.Dense(4, name="shared")
    return twice(twice(x))


def broadcast(x):
    return layers.Add()([x, layers.Dense(1)(x)])


AROUND = {
    "a layer of one's own": Unknown(),
    "a state": lambda x: layers.LSTM(4)(
        keras.ops.ones((1, 2, 3)) * layers.Dense(1)(layers.Reshape((1, 4))(x)),
        initial_state=[x, x],
    ),
    "attention": lambda x: layers.MultiHeadAttention(1, 2)(*[layers.Reshape((1, 4))(x)] * 2),
    "recurrent, of a cell": lambda x: layers.RNN(layers.LSTMCell(3))(layers.Reshape((1, 4))(x)),
    "layer normalisation": layers.LayerNormalization(),
    "occurs twice": shared,
    "broadcast": broadcast,
    "a constant": lambda x: x * np.arange(4.0),
    "softmax": layers.Activation("softmax"),
    "an operation": lambda x: keras.ops.sum(x, axis=-1, keepdims=True),
    "groups": lambda x: layers.Conv1D(4, 1, groups=2)(layers.Reshape((1, 4))(x)),
    "another axis": lambda x: layers.BatchNormalization(axis=1)(layers.Reshape((2, 2))(x)),
}


@pytest.mark.parametrize("around", AROUND)
def test_around_what_is_not_understood_everything_stays(around):
    given = keras.Input((5,))
    x = layers.Dense(4, name="first")(given)
    x = AROUND[around](x)
    model = shaken(keras.Model(given, layers.Dense(3)(layers.Flatten()(x))))
    empty(model.get_layer("first"), [1])

    smaller = compact(model)

    assert shapes(smaller) == shapes(model)
    same(model, smaller, CHANCE.normal(size=(4, 5)).astype("float32"))


def one(layer, **more):
    return layer(**more)


#: What stands between two convolutions, or goes from one shape to another, on 8x8x6.
BETWEEN = {
    "transposed": one(layers.Conv2DTranspose, filters=6, kernel_size=3, name="between"),
    "separable": one(
        layers.SeparableConv2D, filters=6, kernel_size=3, depth_multiplier=2, name="between"
    ),
    "average": one(layers.AveragePooling2D, pool_size=2),
    "global average": one(layers.GlobalAveragePooling2D),
    "global maximum, kept": one(layers.GlobalMaxPooling2D, keepdims=True),
    "reshaped": lambda x: layers.Reshape((1, 1, 6))(layers.GlobalAveragePooling2D()(x)),
    "reshaped, flat": one(layers.Reshape, target_shape=(-1,)),
    "concatenated": lambda x: layers.Concatenate()([x, layers.Dense(4)(x), x]),
    "product": lambda x: layers.multiply([x, layers.Dense(6, "sigmoid")(x)]),
    "operators": lambda x: x + x * layers.Dense(6)(x),
    "maximum": lambda x: layers.maximum([x, layers.ReLU()(x)]),
    "leaky": one(layers.LeakyReLU),
    "grown": one(layers.UpSampling2D),
    "cropped": one(layers.Cropping2D, cropping=2),
    "without scale": one(layers.BatchNormalization, center=False),
}


@pytest.mark.parametrize("between", BETWEEN)
def test_channels_go_through(between):
    given = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 1, name="first")(given)
    x = layers.Flatten()(BETWEEN[between](x))
    model = shaken(keras.Model(given, layers.Dense(3)(x)))
    empty(model.get_layer("first"), [0, 4])
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_mean.assign(layer.moving_mean * 0)

    smaller = compact(model)

    assert smaller.get_layer("first").filters == 4
    same(model, smaller, pictures())


@pytest.mark.parametrize("axis", [1, 2])
def test_convolutions_of_other_dimensions(axis):
    sizes = (4,) * (1 if axis == 1 else 3)
    convolution = layers.Conv1D if axis == 1 else layers.Conv3D
    given = keras.Input((*sizes, 2))
    x = convolution(5, 2, padding="same", activation="relu")(given)
    model = shaken(keras.Model(given, convolution(3, 2)(x)))
    empty(model.layers[1], [0, 2])

    smaller = compact(model)

    assert smaller.layers[1].filters == 3
    same(model, smaller, pictures((*sizes, 2)))


@pytest.mark.parametrize("masked", [False, True])
def test_columns_of_a_table_go(masked):
    model = shaken(
        keras.Sequential(
            [
                keras.Input((6,), dtype="int32"),
                layers.Embedding(10, 5, mask_zero=masked),
                layers.GlobalAveragePooling1D(),
                layers.Dense(2),
            ]
        )
    )
    table = model.layers[0].embeddings
    table.assign(table * [1, 0, 1, 0, 1])

    smaller = compact(model)

    assert smaller.layers[0].output_dim == 3
    same(model, smaller, CHANCE.integers(0, 10, (4, 6)))


RECURRENT = {
    "lstm": lambda: layers.LSTM(3),
    "gru": lambda: layers.GRU(3, return_sequences=True),
    "simple": lambda: layers.SimpleRNN(3, use_bias=False),
    "both ways": lambda: layers.Bidirectional(layers.LSTM(3)),
    "both ways, each its own": lambda: layers.Bidirectional(
        layers.GRU(3), backward_layer=layers.LSTM(3, go_backwards=True)
    ),
}


@pytest.mark.parametrize("kind", RECURRENT)
@pytest.mark.parametrize("masked", [False, True])
def test_recurrent_layers_read_less_and_keep_their_units(kind, masked):
    model = shaken(
        keras.Sequential(
            [
                keras.Input((6,), dtype="int32"),
                layers.Embedding(10, 5, mask_zero=masked),
                RECURRENT[kind](),
                layers.Dense(2),
            ]
        )
    )
    table = model.layers[0].embeddings
    table.assign(table * [1, 0, 1, 0, 1])

    smaller = compact(model)

    assert smaller.layers[0].output_dim == 3
    assert smaller.layers[1].output.shape == model.layers[1].output.shape
    same(model, smaller, CHANCE.integers(0, 10, (4, 6)))


def test_a_model_inside_a_model_becomes_smaller_too():
    inside = functional()
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Rescaling(2.0), inside])
    model.add(layers.Dense(2))
    shaken(model)
    empty(inside.get_layer("second"), [0, 7, 5], behind=inside.get_layer("second_bn"))
    empty(inside.get_layer("last"), [1])

    smaller = compact(model)

    kernels = shapes(smaller)
    assert kernels["second/kernel"] == (1, 1, 16, 5)
    assert kernels["last/kernel"] == (5 * 5 * 5, 3)
    assert [layer.name for layer in smaller.layers] == [layer.name for layer in model.layers]
    same(model, smaller, pictures())


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="needs TensorFlow's tables")
def test_a_vocabulary_comes_along():
    words = layers.TextVectorization(output_sequence_length=4, vocabulary=["a", "b", "c"])
    given = keras.Input((1,), dtype="string")
    x = layers.Embedding(8, 5)(words(given))
    x = layers.Dense(6, "relu", name="first")(layers.GlobalAveragePooling1D()(x))
    model = shaken(keras.Model(given, layers.Dense(2)(x)))
    empty(model.get_layer("first"), [0])

    smaller = compact(model)

    assert smaller.get_layer("first").units == 5
    texts = keras.ops.convert_to_tensor([["a b"], ["c d a"]])
    np.testing.assert_allclose(smaller(texts), model(texts), rtol=1e-4, atol=1e-5)


def test_it_can_be_saved_and_loaded(tmp_path):
    model = functional()
    empty(model.get_layer("first"), [1, 2], behind=model.get_layer("first_bn"))
    smaller = compact(model)

    pc.save(smaller, tmp_path / "smaller.keras")

    loaded = keras.saving.load_model(tmp_path / "smaller.keras", safe_mode=True)
    assert shapes(loaded) == shapes(smaller)
    same(model, loaded, pictures())


@keras.saving.register_keras_serializable("test_compaction")
class Subclass(keras.Model):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.first = layers.Dense(4)

    def call(self, x):
        return self.first(x)


def test_a_model_whose_layers_nobody_knows_the_order_of_is_refused():
    model = Subclass()
    model(np.zeros((1, 3)))

    with pytest.raises(pc.UnsupportedModelError, match="Sequential or Functional"):
        compact(model)


def test_a_published_network():
    model = keras.applications.MobileNetV2(
        alpha=0.35, weights=None, input_shape=(64, 64, 3), include_top=False, pooling="avg"
    )
    for variable in model.weights:
        if variable.name in {"beta", "bias"}:
            variable.assign(CHANCE.normal(size=variable.shape) * 0.3)
    config = pc.PruningConfig(schedule=pc.OneShot(target_sparsity=0.5), granularity=pc.Channel())
    pruning = pc.Pruning(model, config, total_steps=0)
    pruning.finish()
    samples = pictures((64, 64, 3))
    pruning.recalibrate([samples])
    pruned = pruning.strip()

    smaller = compact(pruned)

    assert smaller.count_params() < 0.7 * model.count_params()
    expected, received = (each.predict(samples, verbose=0) for each in (pruned, smaller))
    assert expected.std(axis=0).max() > 0.1
    # So many normalisations by small variances make more of rounding than one layer does.
    assert np.abs(received - expected).mean() < 1e-3 * np.abs(expected).mean()
