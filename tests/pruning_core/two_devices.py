"""Train one model on one device and on two, and compare; the devices are made of the CPU.

In a process of its own: a backend can be given devices only before it is used.
"""

from contextlib import contextmanager

import keras
import numpy as np

from pruning_core.training import Pruning
from tests.pruning_core.runs import CUBIC, STEPS, Record, dense_model, fit, weights_of, zeros_of

#: The order of a sum is all that differs; Adam makes of it a difference of this size at most.
ROUNDING = 1e-5


@contextmanager
def mirrored_by_tensorflow():
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert strategy.num_replicas_in_sync == 2
    with strategy.scope():
        yield


@contextmanager
def data_parallel_on_jax():
    devices = keras.distribution.list_devices("cpu")
    assert len(devices) == 2
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
    yield
    keras.distribution.set_distribution(None)


def train():
    optimizer = keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.5)
    pruning = Pruning(dense_model(optimizer), CUBIC, STEPS)
    zeros = Record(zeros_of)
    fit(pruning, callbacks=[zeros])
    pruning.finish()
    return zeros.seen, weights_of(pruning.model)


def main():
    on_two_devices = {"tensorflow": mirrored_by_tensorflow, "jax": data_parallel_on_jax}
    with on_two_devices[keras.backend.backend()]():
        zeros_of_two, weights_of_two = train()
    zeros, weights = train()

    assert zeros[-1] == [36, 12]
    assert zeros_of_two == zeros
    for one, two in zip(weights, weights_of_two, strict=True):
        np.testing.assert_array_equal(two == 0, one == 0)
        np.testing.assert_allclose(two, one, rtol=ROUNDING, atol=ROUNDING)


if __name__ == "__main__":
    main()
