import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from worker.masks import write_masks

tensors = st.lists(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(max_dims=4, max_side=6),
        elements=st.sampled_from([0.0, -0.0, 1.5, -2.0]),
    ),
    max_size=4,
)


@given(tensors)
def test_a_mask_is_true_where_the_weight_is_not_zero(tmp_path_factory, tensors):
    path = tmp_path_factory.mktemp("masks") / "masks.npz"

    write_masks(path, tensors)

    with np.load(path) as masks:
        for place, tensor in enumerate(tensors):
            mask = np.unpackbits(masks[str(place)], count=tensor.size).reshape(tensor.shape)
            assert np.array_equal(mask, tensor != 0)


def test_a_weight_takes_a_bit(tmp_path):
    path = tmp_path / "masks.npz"

    write_masks(path, [np.ones(80_000)])

    assert path.stat().st_size < 10_000 + 500
