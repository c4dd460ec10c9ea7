"""What is faster must give the same; on the backends that it is for."""

import keras
import numpy as np
import pytest
from keras import layers

import pruning_core as pc
from pruning_core import acceleration
from pruning_core.mask import keep_highest
from pruning_core.optimizer import PruningOptimizer
from pruning_core.training import Pruning

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="JAX compiles the whole step by itself"
)

RNG = np.random.default_rng(0)
SHAPES = [(4, 3), (3,), (3, 2)]
MASK = RNG.random((4, 3)) < 0.5
BUILT_IN = [
    keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 3)),
    keras.optimizers.Adam(0.1, gradient_accumulation_steps=2),
    keras.optimizers.Adam(0.1, use_ema=True, ema_overwrite_frequency=2),
    keras.optimizers.AdamW(0.1, global_clipnorm=0.5),
    keras.optimizers.Adafactor(0.1),
    keras.optimizers.Lion(0.1, clipnorm=1.0),
    keras.optimizers.Muon(0.1),
]


class Written(keras.optimizers.SGD):
    """What a user may write: no compiler can follow it."""

    def update_step(self, gradient, variable, learning_rate):
        import tensorflow as tf

        (seen,) = tf.numpy_function(lambda values: [values], [gradient], [gradient.dtype])
        seen.set_shape(gradient.shape)
        super().update_step(seen, variable, learning_rate)


@pytest.fixture(name="everything_pays")
def _everything_pays(monkeypatch):
    monkeypatch.setattr(acceleration, "_LEAST_WEIGHTS", 0)
    monkeypatch.setattr(acceleration, "_LEAST_WEIGHTS_OF_A_TENSOR", 0)


@pytest.fixture(name="compiled_steps")
def _compiled_steps(everything_pays, monkeypatch):
    """How often XLA was given something to compile."""
    import tensorflow as tf

    del everything_pays
    names = []
    function = tf.function

    def record(python_function, *arguments, **options):
        names.append(python_function.__name__ if options.get("jit_compile") else "plain")
        return function(python_function, *arguments, **options)

    monkeypatch.setattr(tf, "function", record)
    return names


def trained(inner, steps=4):
    """Weights after some steps in a graph, as ``fit`` makes them."""
    import tensorflow as tf

    rng = np.random.default_rng(3)
    variables = [keras.Variable(rng.standard_normal(shape), dtype="float32") for shape in SHAPES]
    optimizer = PruningOptimizer(type(inner).from_config(inner.get_config()), [0])
    optimizer.build(variables)
    optimizer.set_masks({0: MASK}, up_to=0)
    step = tf.function(lambda *gradients: optimizer.apply(list(gradients), variables))
    for _ in range(steps):
        step(*[tf.constant(rng.standard_normal(shape), "float32") for shape in SHAPES])
    return [variable.numpy() for variable in variables]


@pytest.mark.parametrize("inner", BUILT_IN, ids=lambda inner: inner.name)
def test_a_compiled_step_is_the_same_step(inner, request):
    plain = trained(inner)
    request.getfixturevalue("everything_pays")

    compiled = trained(inner)

    for ours, keras_own in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=2e-4, atol=2e-5)
    assert (compiled[0][~MASK].view(np.uint32) == 0).all()
    assert (compiled[0][MASK] != 0).all()


def test_step_and_masks_are_compiled_once_each(compiled_steps):
    trained(keras.optimizers.Adam())

    assert [name for name in compiled_steps if name != "plain"] == [
        "_make_step",
        "_set_pruned_to_zero",
    ]


@pytest.mark.usefixtures("everything_pays")
@pytest.mark.parametrize(
    "inner",
    [
        pytest.param(Written(0.1), id="optimizer"),
        pytest.param(keras.optimizers.SGD(lambda: 0.1), id="rate"),
    ],
)
def test_what_a_user_has_written_is_not_compiled(inner, compiled_steps):
    optimizer = PruningOptimizer(inner, [0])
    optimizer.build([keras.Variable(np.ones((2, 2), "float32"))])

    assert compiled_steps == ["_set_pruned_to_zero"]


@pytest.mark.usefixtures("everything_pays")
def test_what_cannot_be_compiled_once_for_all_is_not():
    import tensorflow as tf

    was_compiled = []
    call = acceleration.compiled(
        lambda gradients: was_compiled.append(bool(gradients) and not tf.executing_eagerly()),
        [keras.Variable(np.ones((3, 2)))],
    )
    dense = tf.ones((3, 2))

    call([dense])
    call([tf.IndexedSlices(tf.ones((1, 2)), tf.constant([0]), tf.constant([3, 2]))])
    call([None])
    with tf.distribute.OneDeviceStrategy("cpu:0").scope():
        call([dense])

    assert was_compiled == [True, False, False, False]


def test_small_tensors_are_not_worth_compiling(compiled_steps, monkeypatch):
    monkeypatch.setattr(acceleration, "_LEAST_WEIGHTS_OF_A_TENSOR", 8)

    trained(keras.optimizers.SGD())

    assert set(compiled_steps) == {"plain"}


@pytest.mark.usefixtures("everything_pays")
@pytest.mark.parametrize(
    ("first", "optimizer"),
    [
        pytest.param(layers.Dense(4, name="first"), keras.optimizers.Adam(), id="dense"),
        pytest.param(
            layers.Dense(4, name="first"),
            keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()),
            id="with loss scaling",
        ),
        pytest.param(
            layers.Embedding(9, 4, name="first"),
            keras.optimizers.Adam(),
            id="gradients of some rows only",
        ),
    ],
)
def test_a_compiled_training_is_sparse_after_every_batch(first, optimizer):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), first, layers.Flatten(), layers.Dense(1)])
    model.compile(optimizer, "mse")
    config = pc.PruningConfig(schedule=pc.Constant(target_sparsity=0.5, frequency=2))
    pruning = Pruning(model, config, total_steps=4)
    x = RNG.integers(0, 9, (12, 3))
    zeros = []
    look = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: zeros.append(pruning.report().sparsity)  # noqa: ARG005
    )

    pruning.model.fit(x, x[:, :1], batch_size=3, verbose=0, callbacks=[pruning.callback, look])

    assert zeros == [pytest.approx(pruning.sparsity_at(4), abs=0.2)] * 4


def normalised(fuse, **settings):
    """Outputs, gradients and statistics of two batches."""
    import tensorflow as tf

    rng = np.random.default_rng(1)
    layer = layers.BatchNormalization(**settings)
    model = keras.Sequential([keras.Input((5, 4, 3)), layer])
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(1, 1, weight.shape))
    fuse(model)
    seen = []
    for _ in range(2):
        x = tf.constant(rng.normal(2, 3, (8, 5, 4, 3)), "float32")
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = model(x, training=True)
            loss = tf.reduce_sum(tf.cast(outputs, "float32") ** 3)
        seen += [outputs, *tape.gradient(loss, [x, *model.trainable_weights]), *layer.weights]
    return [np.array(value, dtype="float32") for value in seen]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="as it comes"),
        pytest.param({"scale": False, "center": False}, id="neither scale nor centre"),
        pytest.param({"momentum": 0.5, "epsilon": 1e-4}, id="other constants"),
        pytest.param({"dtype": "mixed_float16"}, id="mixed precision"),
        pytest.param({"dtype": "float64"}, id="double precision"),
        pytest.param({"trainable": False}, id="frozen"),
        pytest.param({"axis": 1}, id="along the height"),
        pytest.param({"renorm": True}, id="renormalised"),
        pytest.param({"epsilon": 1e-6}, id="an epsilon below the kernel's"),
    ],
)
def test_a_batch_is_normalised_as_keras_does(settings):
    by_keras = normalised(lambda _: None, **settings)

    fused = normalised(acceleration.fuse_batch_normalization, **settings)

    for ours, keras_own in zip(fused, by_keras, strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=2e-3, atol=2e-3)


def test_the_kernel_is_used_in_training_and_only_there():
    import tensorflow as tf

    layer = layers.BatchNormalization()
    layer.build((None, 2, 2, 1))
    model = keras.Sequential([keras.Input((2, 2, 1)), layer])
    acceleration.fuse_batch_normalization(model)

    kernels = {
        training: [
            operation.type
            for operation in tf.function(lambda x, training=training: model(x, training=training))
            .get_concrete_function(tf.TensorSpec((None, 2, 2, 1)))
            .graph.get_operations()
            if "FusedBatchNorm" in operation.type
        ]
        for training in (True, False)
    }

    assert kernels == {True: ["FusedBatchNormV3"], False: []}


def test_one_value_for_each_channel_is_normalised_as_keras_does():
    model, fused = (
        keras.Sequential([keras.Input((1, 1, 2)), layers.BatchNormalization()]) for _ in range(2)
    )
    acceleration.fuse_batch_normalization(fused)
    x = np.array([[[[3.0, -1.0]]]], dtype="float32")

    model(x, training=True)
    fused(x, training=True)

    for ours, keras_own in zip(fused.weights, model.weights, strict=True):
        np.testing.assert_allclose(ours.numpy(), keras_own.numpy(), rtol=1e-6)


def images():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(name="normalisation"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )
    model.compile("adam", "mse")
    return model


def test_the_stripped_model_is_plain_keras():
    pruning = Pruning(images(), pc.PruningConfig(), total_steps=0)

    fused, plain = (
        [layer.name for layer in model.layers if "call" in vars(layer)]
        for model in (pruning.model, pruning.strip())
    )

    assert fused == ["normalisation"]
    assert plain == []


@pytest.mark.usefixtures("everything_pays")
def test_a_training_can_be_repeated_to_the_last_bit():
    x, y = RNG.normal(size=(8, 6, 6, 3)), RNG.normal(size=(8, 2))
    weights = []
    for _ in range(2):
        pruning = Pruning(images(), pc.PruningConfig(schedule=pc.OneShot()), total_steps=4)
        pruning.model.fit(x, y, batch_size=2, verbose=0, callbacks=[pruning.callback])
        weights.append([keras.ops.convert_to_numpy(weight) for weight in pruning.model.weights])

    for one, other in zip(*weights, strict=True):
        assert (one == other).all()


def test_a_mask_is_taken_over_without_a_copy():
    mask = keep_highest(RNG.random((30, 5)), 0.5)

    tensor = acceleration.taken_over(mask)

    assert np.shares_memory(memoryview(tensor), mask)


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(np.empty(80, np.bool_)[1:][:20].reshape(4, 5), id="somewhere in memory"),
        pytest.param(keep_highest(RNG.random((5, 4)), 0.5).T, id="not in C order"),
    ],
)
def test_a_mask_that_a_tensor_cannot_be_is_left_to_keras(mask):
    assert acceleration.taken_over(mask) is mask
