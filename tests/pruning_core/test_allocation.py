import numpy as np

from pruning_core.allocation import Level, masks
from pruning_core.catalogue import layout
from pruning_core.config import Uniform, Unstructured
from pruning_core.granularity import Kernel


def kernel(*shape, granularity=None, class_name="Dense"):
    lies = layout(class_name, "kernel", rank=len(shape))
    return Kernel(shape, granularity or Unstructured(), lies)


def test_uniform_gives_every_tensor_the_same_sparsity():
    small, large = np.arange(4.0), np.arange(100.0, 110.0)

    chosen = masks(Uniform(), [kernel(4), kernel(10)], [small, large], Level(0.5, 0.5))

    assert [np.count_nonzero(~mask) for mask in chosen] == [2, 5]
