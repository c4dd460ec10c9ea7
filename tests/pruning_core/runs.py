"""How the tests of training train, and what they look at."""

import keras
import numpy as np

import pruning_core as pc

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 6)).astype("float32")
Y = RNG.normal(size=(24, 2)).astype("float32")
BATCH_SIZE = 4
STEPS = 6  #: Of one epoch.

#: Its updates are at the steps 0, 2, 4 and 5.
CUBIC = pc.PruningConfig(
    schedule=pc.PolynomialDecay(initial_sparsity=0.25, final_sparsity=0.75, end_step=5, frequency=2)
)


class Record(keras.callbacks.Callback):
    """What an observer sees after each batch."""

    def __init__(self, look):
        super().__init__()
        self.look = look
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        del batch, logs
        self.seen.append(self.look(self.model))


def dense_model(optimizer="sgd", **compile_arguments):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, activation="tanh", name="a"),
            keras.layers.Dense(2, name="b"),
        ]
    )
    model.compile(optimizer, "mse", **compile_arguments)
    return model


def fit(pruning, *, x=X, y=Y, epochs=1, callbacks=()):
    return pruning.model.fit(
        x,
        y,
        batch_size=BATCH_SIZE,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[pruning.callback, *callbacks],
    )


def zeros_of(model, config=CUBIC):
    """Zeros in each pruned tensor."""
    return [tensor.zeros for tensor in pc.report(model, config).tensors if tensor.pruned]


def zeros_due(pruning, steps):
    """Zeros in each pruned tensor after each of ``steps``, as the run's schedule has it."""
    sizes = [tensor.size for tensor in pruning.report().tensors if tensor.pruned]
    schedule = pruning.config.schedule
    return [
        [round(size * schedule.sparsity_at(schedule.last_update(step))) for size in sizes]
        for step in steps
    ]


def weights_of(model):
    return [keras.ops.convert_to_numpy(weight) for weight in model.weights]


def assert_same_weights(one, other):
    """The same to the last bit."""
    for left, right in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(left, right)
