import lzma

import numpy as np
import pytest

from worker.weighing import weigh


@pytest.mark.parametrize(("dtype", "number_bytes"), [("float32", 4), ("float16", 2), ("int8", 1)])
def test_xz_is_the_smallest_form_of_a_sparse_file_and_any_xz_unpacks_it(
    tmp_path, dtype, number_bytes
):
    path = tmp_path / "model.tflite"
    values = np.random.default_rng(0).normal(0, 20, 100_000)
    values[np.abs(values) < 33] = 0
    path.write_bytes(values.astype(dtype).tobytes())

    weight = weigh(path, number_bytes=number_bytes)

    sizes = {each.encoding: each.bytes for each in weight.compressed}
    assert sizes.keys() == {"gzip", "xz", "zstd"}
    assert sizes["xz"] < 0.95 * min(sizes["gzip"], sizes["zstd"])
    packed = (tmp_path / "model.tflite.xz").read_bytes()
    assert len(packed) == sizes["xz"]
    assert lzma.decompress(packed) == path.read_bytes()


def test_a_form_that_is_no_smaller_is_not_kept(tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(np.random.default_rng(0).bytes(10_000))

    assert weigh(path).compressed == ()
    assert list(tmp_path.iterdir()) == [path]
