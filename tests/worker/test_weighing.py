import gzip
import hashlib
import lzma

import numpy as np
import pytest
import zstandard

from app.jobs.formats import SUFFIXES
from worker.weighing import Stretch, weigh

_UNPACK = {
    "gzip": gzip.decompress,
    "xz": lzma.decompress,
    "zstd": lambda packed: zstandard.ZstdDecompressor().decompress(packed),
}


def test_each_form_beside_the_file_is_the_file_and_what_is_said_of_it(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(bytes(100_000) + b"weights" * 100)

    weight = weigh(path)

    assert weight.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert {each.encoding for each in weight.compressed} == set(_UNPACK)
    for form in weight.compressed:
        packed = path.with_name(path.name + SUFFIXES[form.encoding]).read_bytes()
        assert _UNPACK[form.encoding](packed) == path.read_bytes()
        assert (form.bytes, form.sha256) == (len(packed), hashlib.sha256(packed).hexdigest())


@pytest.mark.parametrize(("dtype", "number_bytes"), [("float32", 4), ("float16", 2), ("int8", 1)])
def test_xz_is_the_smallest_form_of_a_sparse_file_and_any_xz_unpacks_it(
    tmp_path, dtype, number_bytes
):
    path = tmp_path / "model.tflite"
    values = np.random.default_rng(0).normal(0, 20, 100_000)
    values[np.abs(values) < 33] = 0
    path.write_bytes(values.astype(dtype).tobytes())

    weight = weigh(path, (Stretch(None, number_bytes),))

    sizes = {each.encoding: each.bytes for each in weight.compressed}
    assert sizes.keys() == {"gzip", "xz", "zstd"}
    assert sizes["xz"] < 0.95 * min(sizes["gzip"], sizes["zstd"])
    packed = (tmp_path / "model.tflite.xz").read_bytes()
    assert len(packed) == sizes["xz"]
    assert lzma.decompress(packed) == path.read_bytes()


def _sparse_int8():
    values = np.random.default_rng(0).normal(0, 20, 100_000)
    return np.where(np.abs(values) < 26, 0, values).astype(np.int8).tobytes()


def test_gzip_does_not_take_chance_for_repetition(tmp_path):
    path = tmp_path / "model.int8.tflite"
    path.write_bytes(_sparse_int8())

    weigh(path)

    packed = (tmp_path / "model.int8.tflite.gz").read_bytes()
    assert len(packed) < 0.95 * len(gzip.compress(_sparse_int8(), 9))


def test_a_large_file_is_compressed_in_less_time_and_little_worse(tmp_path, monkeypatch):
    sizes = []
    for limit in (64 << 20, 100_000):
        monkeypatch.setattr("worker.weighing._LARGE_BYTES", limit)
        path = tmp_path / str(limit)
        path.write_bytes(_sparse_int8() + b"weights" * 1_000)
        forms = {each.encoding: each.bytes for each in weigh(path).compressed}
        sizes.append(forms)
        for encoding, unpack in _UNPACK.items():
            packed = path.with_name(path.name + SUFFIXES[encoding]).read_bytes()
            assert unpack(packed) == path.read_bytes()

    as_small, as_large = sizes
    assert as_large["xz"] == as_small["xz"]
    for encoding in ("gzip", "zstd"):
        assert as_small[encoding] < as_large[encoding] < 1.8 * as_small[encoding]


def test_xz_learns_from_the_byte_before_where_that_helps(tmp_path):
    path = tmp_path / "model.int8.tflite"
    generator = np.random.default_rng(0)
    upper_bits = (3 * np.arange(50_000) + (generator.random(50_000) < 0.05).cumsum()) % 8
    lower_bits = generator.integers(0, 32, 50_000)
    path.write_bytes((32 * upper_bits + lower_bits).astype(np.uint8).tobytes())

    weight = weigh(path, (Stretch(None, 1),))

    sizes = {each.encoding: each.bytes for each in weight.compressed}
    assert sizes["xz"] < 0.8 * weight.bytes, "five bits of eight, and what is unforeseen"


def test_xz_packs_each_stretch_by_itself_and_they_unpack_as_one_file(tmp_path):
    path = tmp_path / "model.int8.tflite"
    values = np.random.default_rng(0).normal(0, 20, 40_000)
    values[np.abs(values) < 33] = 0
    path.write_bytes(values.astype(np.int8).tobytes() + values.astype(np.float32).tobytes())

    apart = _xz_bytes(weigh(path, (Stretch(40_000, 1), Stretch(None, 4))))
    assert apart < 0.98 * min(_xz_bytes(weigh(path, (Stretch(None, size),))) for size in (1, 4))

    weigh(path, (Stretch(40_000, 1), Stretch(None, 4)))
    packed = tmp_path / "model.int8.tflite.xz"
    assert packed.stat().st_size == apart
    assert lzma.decompress(packed.read_bytes()) == path.read_bytes()
    assert len(list(tmp_path.iterdir())) == 4, "nothing that was tried is left"


def test_xz_finds_what_comes_again_in_little_of_floats(tmp_path, monkeypatch):
    path = tmp_path / "model.tflite"
    path.write_bytes(8 * np.random.default_rng(0).bytes(8_000))

    assert _xz_bytes(weigh(path)) < 9_000
    monkeypatch.setattr("worker.weighing._LITTLE_BYTES", 60_000)
    assert "xz" not in {each.encoding for each in weigh(path).compressed}


def _xz_bytes(weight):
    return next(each.bytes for each in weight.compressed if each.encoding == "xz")


def test_a_form_that_is_no_smaller_is_not_kept(tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(np.random.default_rng(0).bytes(10_000))

    assert weigh(path).compressed == ()
    assert list(tmp_path.iterdir()) == [path]
