"""Carry out one order on two devices and on one, and compare; the devices are made of the CPU.

In a process of its own: TensorFlow can be given devices only before it is used.
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from app.jobs.spec import parse_spec
from worker import pruning
from worker.messages import Checkpointed, Noticed, PruneOrder

#: The order of a sum is all that differs.
ROUNDING = 1e-5
_SPEC = """{"schedule": {"kind": "polynomial_decay", "final_sparsity": 0.75, "frequency": 2},
            "layers": [{"type": "Conv2D", "granularity": {"kind": "channel"}}],
            "training": {"epochs": 2, "batch_size": 16, "validation_split": 0.25,
                         "optimizer": {"kind": "sgd", "learning_rate": 0.05, "momentum": 0.9}}}"""
_STEPS = 8


def model():
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            # A bias would be taken away again: what is left of it is rounding alone.
            keras.layers.Conv2D(4, 3, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.Activation("relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(4, activation="softmax"),
        ]
    )
    model.compile(loss="sparse_categorical_crossentropy")
    return model


def carry_out(folder, *, samples):
    """Return the weights, the notices, and how far checkpoints were taken."""
    folder.mkdir()
    model().save(folder / "uploaded.keras")
    chance = np.random.default_rng(0)
    x = chance.normal(size=(samples, 6, 6, 1)).astype(np.float32)
    np.savez(folder / "dataset.npz", x_train=x, y_train=x.reshape(samples, -1)[:, :4].argmax(1))
    reports = []
    order = PruneOrder(
        folder=folder,
        model=folder / "uploaded.keras",
        dataset=folder / "dataset.npz",
        artifact=folder / "model.keras",
        reference=folder / "reference.npz",
        spec=parse_spec(_SPEC),
        total_steps=_STEPS,
    )
    pruning.prune(order, reports.append)
    weights = keras.saving.load_model(folder / "model.keras").get_weights()
    codes = {report.notice.code for report in reports if isinstance(report, Noticed)}
    return weights, codes, any(isinstance(report, Checkpointed) for report in reports)


def main():
    folder = Path(sys.argv[1])
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    replicated, seen = pruning.replicated, []
    pruning.replicated = lambda devices: seen.append(devices) or replicated(devices)

    on_two, told, was_written_down = carry_out(folder / "two", samples=80)
    pruning.devices_here = lambda: ("/device:CPU:0",)
    on_one, *_ = carry_out(folder / "one", samples=80)

    assert [len(devices) for devices in seen] == [2]
    assert was_written_down
    assert "devices_idle" not in told
    kernel, scale, offset, *_ = on_one
    for each in (kernel, scale, offset):
        assert (each == 0).mean() == 0.75
    assert any((one == 0).mean() > 0.7 for one in on_one if one.ndim == 2)
    for one, two in zip(on_one, on_two, strict=True):
        np.testing.assert_array_equal(two == 0, one == 0)
        np.testing.assert_allclose(two, one, rtol=ROUNDING, atol=ROUNDING * np.abs(one).max())


if __name__ == "__main__":
    main()
