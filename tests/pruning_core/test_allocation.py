import numpy as np

from pruning_core.allocation import uniform


def test_uniform_gives_every_tensor_the_same_sparsity():
    small, large = np.arange(4.0), np.arange(100.0, 110.0)

    masks = uniform([small, large], 0.5)

    assert [np.count_nonzero(~mask) for mask in masks] == [2, 5]
