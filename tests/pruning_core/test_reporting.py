import keras
import numpy as np
import pytest
from keras import layers

import pruning_core as pc
from pruning_core.reporting import SparsityReport, TensorSparsity


def model_with_zeros():
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(2, name="a"), layers.BatchNormalization(name="norm")],
    )
    model.get_layer("a").kernel.assign([[0, 1], [-0.0, 1e-30], [0, 2], [0, 3]])
    return model


def test_zeros_are_counted_in_every_tensor():
    tensors = pc.report(model_with_zeros()).tensors

    counted = [(f"{t.layer}/{t.weight}", t.shape, t.zeros, t.sparsity, t.pruned) for t in tensors]
    assert counted == [
        ("a/kernel", (4, 2), 4, 0.5, True),
        ("a/bias", (2,), 2, 1.0, False),
        ("norm/gamma", (2,), 0, 0.0, False),
        ("norm/beta", (2,), 2, 1.0, False),
        ("norm/moving_mean", (2,), 2, 1.0, False),
        ("norm/moving_variance", (2,), 0, 0.0, False),
    ]


def test_the_sparsity_is_that_of_the_pruned_tensors():
    report = pc.report(model_with_zeros())

    assert (report.parameters, report.prunable, report.nonzero) == (18, 8, 8)
    assert report.sparsity == 0.5


def test_what_counts_as_pruned_is_the_configurations():
    config = pc.PruningConfig(layers=(pc.LayerRule(match="a", skip=True),))

    report = pc.report(model_with_zeros(), config)

    assert report.tensors[0].reason == "skipped: its name matches 'a'"
    assert (report.prunable, report.sparsity) == (0, 0.0)


def test_it_prints_as_a_table():
    tensors = pc.report(model_with_zeros()).tensors[:3]

    assert str(SparsityReport(tensors)).splitlines() == [
        "weight      shape  zeros  of  sparsity  not pruned because",
        "a/kernel    4 x 2      4   8    50.00%",
        "a/bias      2          2   2   100.00%  biases are few and carry much: not pruned",
        "norm/gamma  2          0   2     0.00%  normalisation weights are not pruned",
        "total                  6  12    50.00%  50.00% of the 8 in pruned tensors",
    ]


@pytest.mark.parametrize("shape", [(), (0, 3)])
def test_a_scalar_and_an_empty_tensor_are_counted(shape):
    size = int(np.prod(shape))
    tensor = TensorSparsity("a", "Scale", "scale", shape, zeros=0, reason="a scale")

    assert (tensor.size, tensor.sparsity) == (size, 0.0)
    assert "a/scale" in str(SparsityReport((tensor,)))
