"""The file of the ``weights`` formats: what is written comes back, small, or is refused."""

import copy
import hashlib
import json
import shutil
import subprocess
import sys
import zlib

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pruning_core.allocation import Level, masks
from pruning_core.catalogue import layout
from pruning_core.config import Block, Channel, NOfM, Uniform, Unstructured
from pruning_core.criterion import magnitude
from pruning_core.granularity import Kernel
from worker.formats import weights_reader
from worker.formats.weights_reader import PREFIX, CorruptWeightsError, unpack
from worker.formats.weights_writer import Weight, pack

GRANULARITIES = [
    pytest.param(Unstructured(), id="unstructured"),
    pytest.param(Block(), id="block"),
    pytest.param(Block(block_size=(3, 2), pooling="max"), id="ragged block"),
    pytest.param(NOfM(), id="2 of 4"),
    pytest.param(NOfM(zeros=1, group=3), id="1 of 3"),
    pytest.param(NOfM(zeros=9, group=10), id="9 of 10"),
    pytest.param(NOfM(zeros=50, group=60), id="a group larger than the channels"),
    pytest.param(Channel(), id="channel"),
]
LAYOUTS = [
    pytest.param((13, 7), layout("Dense", "kernel", rank=2), id="Dense"),
    pytest.param((3, 3, 5, 8), layout("Conv2D", "kernel", rank=4), id="Conv2D"),
    pytest.param((3, 3, 8, 5), layout("Conv2DTranspose", "kernel", rank=4), id="Conv2DTranspose"),
]
DTYPES = ["bool", "int8", "uint32", "int64", "float16", "float32", "float64"]


def pruned(shape, lies, granularity, sparsity=0.7, *, seed=0):
    kernel = Kernel(shape, granularity, lies)
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    level = Level(sparsity, last_sparsity=sparsity)
    if isinstance(granularity, NOfM):
        level = Level(granularity.sparsity, last_sparsity=granularity.sparsity)
    (mask,) = masks(Uniform(), [kernel], [magnitude(values)], level)
    return Weight("kernel", np.where(mask, values, np.float32(0)), kernel)


def dense_kernel(values):
    lies = layout("Dense", "kernel", rank=values.ndim)
    return Weight("kernel", values, Kernel(values.shape, Unstructured(), lies))


def only(packed):
    ((_, values),) = unpack(packed)
    return values


def header_of(packed):
    length = PREFIX.unpack_from(packed)[2]
    content = packed[PREFIX.size :]
    return json.loads(zlib.decompress(content[:length], -15)), content[length:]


def forged(header, body):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    coder = zlib.compressobj(wbits=-15)
    packed = coder.compress(text) + coder.flush()
    digest = hashlib.sha256(packed + body).digest()
    return PREFIX.pack(b"ESPW", 1, len(packed), digest) + packed + body


@given(
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, min_side=0))
    ),
    st.randoms(use_true_random=False),
)
def test_any_array_comes_back_to_the_last_bit(values, random):
    holes = np.array([random.random() < 0.6 for _ in range(values.size)], dtype=bool)
    values[holes.reshape(values.shape)] = 0

    received = only(pack([Weight("any", values)], precision="float32"))

    assert received.dtype == values.dtype
    assert received.shape == values.shape
    assert received.tobytes() == values.tobytes()


@pytest.mark.parametrize(("shape", "lies"), LAYOUTS)
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("sparsity", [0.2, 0.7])
def test_what_was_pruned_in_units_comes_back_to_the_last_bit(shape, lies, granularity, sparsity):
    weight = pruned(shape, lies, granularity, sparsity)

    received = only(pack([weight], precision="float32"))

    np.testing.assert_array_equal(received, weight.values, strict=True)


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_zeros_that_no_unit_asks_for_come_back_too(granularity):
    weight = pruned((13, 7), layout("Dense", "kernel", rank=2), granularity)
    weight.values[:, 2] = 0
    weight.values[5] = -0.0

    received = only(pack([weight], precision="float32"))

    assert received.tobytes() == weight.values.tobytes()


def test_tensors_keep_their_order_and_their_names():
    weights = [Weight(name, np.full(3, value)) for name, value in [("b", 1.0), ("a", 2), ("b", 3)]]

    received = unpack(pack(weights, precision="float32"))

    assert [(name, values[0]) for name, values in received] == [("b", 1.0), ("a", 2), ("b", 3)]


def test_bfloat16_comes_back_as_float32_of_the_same_values():
    values = np.array([0, 1.5, -3.25, 1e-38, np.inf], ml_dtypes.bfloat16)

    received = only(pack([Weight("small", values)], precision="float32"))

    np.testing.assert_array_equal(received, values.astype(np.float32), strict=True)


def test_gaps_longer_than_a_byte_can_say_come_back():
    values = np.zeros(2000, np.float32)
    values[[254, 509, 510, 765, 1999]] = 1

    received = only(pack([Weight("long", values)], precision="float32"))

    np.testing.assert_array_equal(received, values)


@pytest.mark.parametrize(("shape", "lies"), LAYOUTS)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_int8_is_off_by_half_a_step_of_its_output_at_most(shape, lies, granularity):
    weight = pruned(shape, lies, granularity)

    received = only(pack([weight], precision="int8"))

    largest = np.abs(weight.values).max(axis=lies.inputs, keepdims=True)
    assert np.all(np.abs(received - weight.values) <= 1.01 * largest / 127 / 2)
    assert received.dtype == np.float32
    assert not received[weight.values == 0].any()


def test_int8_rounds_kernels_alone():
    bias = np.array([1e-9, 1.0], np.float32)
    kernel = np.ones((2, 2), np.float32)
    diverged = np.array([[np.nan, 1e-9]], np.float32)
    weights = [dense_kernel(kernel), Weight("bias", bias), dense_kernel(diverged)]

    packed = pack(weights, precision="int8")

    assert [entry["dtype"] for entry in header_of(packed)[0]["tensors"]] == [
        "int8",
        "float32",
        "float32",
    ]
    np.testing.assert_array_equal(unpack(packed)[1][1], bias)
    np.testing.assert_array_equal(unpack(packed)[2][1], diverged)


@pytest.mark.parametrize("largest", [0.0, 1e-45, 1e-39, 1.0, 3.4e38])
def test_int8_takes_outputs_of_any_size(largest):
    values = np.array([[largest], [-largest], [0]], np.float32)

    received = only(pack([dense_kernel(values)], precision="int8"))

    np.testing.assert_allclose(received, values, rtol=0.01, atol=1e-40)


def entropy(share):
    return -share * np.log2(share) - (1 - share) * np.log2(1 - share)


@pytest.mark.parametrize(
    ("granularity", "bits_of_a_mask"),
    [
        pytest.param(Unstructured(), entropy(0.2), id="unstructured"),
        pytest.param(Block(), entropy(0.2) / 4, id="block"),
        pytest.param(NOfM(zeros=2, group=4), np.log2(6) / 4, id="2 of 4"),
        pytest.param(NOfM(zeros=6, group=8), np.log2(28) / 8, id="6 of 8"),
        pytest.param(Channel(), 0, id="channel"),
    ],
)
def test_a_mask_takes_as_much_as_it_says(granularity, bits_of_a_mask):
    weight = pruned((512, 512), layout("Dense", "kernel", rank=2), granularity, 0.8)

    header, _ = header_of(pack([weight], precision="float32"))

    (mask,) = [stream for stream in header["streams"] if stream["name"] in {"gaps", "groups"}]
    assert mask["packed"] == pytest.approx(bits_of_a_mask * 512 * 512 / 8, rel=0.02, abs=100)


def test_numbers_take_as_much_as_they_say():
    values = np.random.default_rng(0).normal(0, 0.05, size=100_000).astype(np.float32)

    packed = pack([Weight("normal", values)], precision="float32")

    halves, counts = np.unique(values.view(np.uint32) >> 16, return_counts=True)
    assert halves.size > 1000
    bits = 16 - np.sum(counts / values.size * np.log2(counts / values.size))
    assert 8 * len(packed) == pytest.approx(bits * values.size, rel=0.01)


@given(st.data())
def test_a_file_that_was_changed_anywhere_is_refused(data):
    packed = bytearray(pack([dense_kernel(np.eye(9, dtype=np.float32))], precision="float32"))
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] ^= data.draw(st.integers(1, 255))

    with pytest.raises(CorruptWeightsError):
        unpack(bytes(packed))


@given(st.integers(0, 200))
def test_a_file_that_was_cut_off_is_refused(length):
    packed = pack([dense_kernel(np.eye(9, dtype=np.float32))], precision="float32")

    with pytest.raises(CorruptWeightsError):
        unpack(packed[: min(length, len(packed) - 1)])


@given(st.data())
@settings(max_examples=300)
def test_a_header_that_lies_is_refused_or_harmless(data):
    granularity = data.draw(st.sampled_from([case.values[0] for case in GRANULARITIES]))
    weight = pruned((13, 7), layout("Dense", "kernel", rank=2), granularity)
    header, body = header_of(pack([weight], precision="int8"))
    lies = [-1, 0, 1, 2, 10**3, 2**40, 2**70, 0.5, None, "", "float64", [], [0, 0], {}, True]
    owner = data.draw(st.sampled_from(list(owners(header))))
    place = data.draw(
        st.sampled_from(sorted(owner) if isinstance(owner, dict) else range(len(owner)))
    )
    owner[place] = data.draw(st.sampled_from(lies))

    try:
        received = unpack(forged(header, body), max_bytes=10_000)
    except CorruptWeightsError:
        return

    assert sum(values.nbytes for _, values in received) <= 10_000


def owners(value):
    """Yield every object and every list in ``value`` that is not empty."""
    if isinstance(value, dict | list) and value:
        yield value
        for part in value.values() if isinstance(value, dict) else value:
            yield from owners(part)


HUGE = {"name": "w", "dtype": "float32", "shape": [2**20, 2**20]}
MEGABYTE = zlib.compress(bytes(10**6), wbits=-15)
ONE = {"name": "w", "dtype": "float32", "shape": [1]}


@pytest.mark.parametrize(
    ("header", "body", "rule"),
    [
        pytest.param(b"{", b"", "must follow the format.*JSONDecodeError", id="no JSON"),
        pytest.param(b"[" * 10**5, b"", "must follow.*RecursionError", id="deep"),
        pytest.param({}, b"", "must follow the format.*KeyError", id="no tensors"),
        pytest.param(
            {"tensors": [HUGE], "streams": []}, b"", "at most 1000000 bytes.*4398046", id="huge"
        ),
        pytest.param(
            {"tensors": [ONE], "streams": [{"name": "float32/0", "bytes": 10**9, "packed": 0}]},
            b"",
            "at most.*Received: 1000000000",
            id="a huge stream",
        ),
        pytest.param(
            {
                "tensors": [ONE],
                "streams": [{"name": "float32/0", "bytes": 1, "packed": len(MEGABYTE)}],
            },
            MEGABYTE,
            "whole streams of at most 1 bytes",
            id="a stream that grows",
        ),
        pytest.param(
            {"tensors": [ONE], "streams": []}, b"", "1 bytes more in the stream", id="no values"
        ),
        pytest.param({"tensors": [], "streams": []}, b"x", "as long as its streams", id="more"),
        pytest.param(
            {"tensors": [ONE | {"dtype": "object"}], "streams": []}, b"", "number types", id="dtype"
        ),
    ],
)
def test_a_header_that_promises_what_is_not_there_is_refused(header, body, rule):
    with pytest.raises(CorruptWeightsError, match=rule):
        unpack(forged(header, body), max_bytes=10**6)


def test_what_no_tensor_takes_is_refused():
    header, body = header_of(pack([Weight("w", np.ones(3))], precision="float32"))
    shorter = copy.deepcopy(header)
    shorter["tensors"][0]["shape"] = [2]

    with pytest.raises(CorruptWeightsError, match="nothing in its streams beyond"):
        unpack(forged(shorter, body))


@pytest.mark.parametrize(
    ("packed", "rule"),
    [
        (b"", "begin with b'ESPW'"),
        (b"PK\3\4" + bytes(100), "begin with b'ESPW'"),
        (b"ESPW\1\0", "at least 44 bytes. Received: 6"),
        (b"ESPW\2" + bytes(100), "be of version 1. Received: 2"),
        (b"ESPW\1" + bytes(100), "SHA-256 it states. Received: one cut off or changed"),
    ],
)
def test_what_is_no_such_file_is_refused(packed, rule):
    with pytest.raises(CorruptWeightsError, match=rule):
        unpack(packed)


def test_what_is_no_number_is_refused():
    with pytest.raises(ValueError, match=r"must be numbers or booleans\. Received: complex128"):
        pack([Weight("w", np.ones(1, complex))], precision="float32")


def test_the_reader_can_be_copied_and_needs_numpy_alone(tmp_path):
    (tmp_path / "model.espw").write_bytes(pack([Weight("w", np.ones(3))], precision="float32"))
    shutil.copy(weights_reader.__file__, tmp_path / "weights_reader.py")

    answer = subprocess.run(
        [sys.executable, "-I", "-c", STRANGER],
        check=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert answer.stdout == "[('w', [1.0, 1.0, 1.0])]\n"


STRANGER = """
import sys
sys.path.insert(0, ".")
from weights_reader import read_weights
print([(name, values.tolist()) for name, values in read_weights("model.espw")])
assert not {"app", "keras", "pruning_core", "tensorflow", "worker"} & set(sys.modules), "not alone"
"""
