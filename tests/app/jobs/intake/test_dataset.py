import struct
import zipfile

import numpy as np
import pytest

from app.jobs.errors import RefusedFileError
from app.jobs.intake import dataset
from app.jobs.intake.dataset import summarise_dataset

_X, _Y = np.zeros((4, 3), np.float32), np.array([0, 1, 2, 1])


def _refusal(path):
    with pytest.raises(RefusedFileError) as caught:
        summarise_dataset(path)
    return caught.value


def test_says_what_is_in_a_file(npz):
    summary = summarise_dataset(
        npz(x_train=_X, y_train=_Y, x_test=_X[:2], y_test=_Y[:2], vocab=np.array(["a"]))
    )

    assert [(a.name, a.shape, a.dtype) for a in summary.arrays] == [
        ("x_train", (4, 3), "float32"),
        ("y_train", (4,), "int64"),
        ("x_test", (2, 3), "float32"),
        ("y_test", (2,), "int64"),
    ]
    assert summary.ignored == ("vocab",)
    assert (summary.train_samples, summary.validation_samples, summary.test_samples) == (4, 0, 2)
    assert summary.integer_labels
    assert (summary.lowest_label, summary.highest_label) == (0, 2)


def test_an_undivided_file_is_training_data(npz):
    summary = summarise_dataset(npz(x=_X, y=_Y))

    assert summary.train_samples == 4


def test_samples_need_no_labels(npz):
    summary = summarise_dataset(npz(x_train=_X, x_test=_X[:2]))

    assert (summary.train_samples, summary.test_samples) == (4, 2)
    assert not summary.has_labels
    assert (summary.integer_labels, summary.lowest_label, summary.highest_label) == (
        False,
        None,
        None,
    )


def test_several_inputs_go_by_their_names(npz):
    summary = summarise_dataset(npz(**{"x_train/left": _X, "x_train/right": _X, "y_train": _Y}))

    assert [array.name for array in summary.arrays] == ["x_train/left", "x_train/right", "y_train"]


def test_arrays_that_mean_nothing_are_not_even_unpickled(npz):
    summary = summarise_dataset(npz(x=_X, y=_Y, z=np.array([object()])))

    assert summary.ignored == ("z",)


@pytest.mark.parametrize(
    ("labels", "whole"),
    [
        (np.array([0.0, 1.0, 1.0, 0.0]), True),
        (np.array([[0], [1], [1], [0]]), True),
        (np.array([True, False, True, True]), True),
        (np.array([0.5, 1.0, 1.0, 0.0]), False),
        (np.eye(4, dtype=int), False),
    ],
    ids=["whole floats", "a column", "booleans", "fractions", "one-hot"],
)
def test_integer_labels_are_whole_numbers_one_a_sample(npz, labels, whole):
    assert summarise_dataset(npz(x=_X, y=labels)).integer_labels is whole


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["u1", "i8", ">f4", "f2", "f8", "?"])
def test_numbers_of_every_kind_are_read(npz, dtype, order):
    x = np.asarray(np.ones((4, 3)), dtype, order=order)

    assert summarise_dataset(npz(x=x, y=_Y)).train_samples == 4


@pytest.mark.parametrize(
    ("arrays", "code"),
    [
        pytest.param({"x": _X, "y": np.array([1, "a", None, 2])}, "object_array", id="objects"),
        pytest.param({"x": _X, "y": np.array(list("abcd"))}, "unsupported_dtype", id="text"),
        pytest.param({"x": _X.astype(complex), "y": _Y}, "unsupported_dtype", id="complex"),
        pytest.param(
            {"x": np.zeros(4, [("a", "f4")]), "y": _Y}, "unsupported_dtype", id="structured"
        ),
        pytest.param({"x": _X.astype("g"), "y": _Y}, "unsupported_dtype", id="long double"),
        pytest.param({"x": np.float32(1), "y": _Y}, "no_samples", id="a scalar"),
        pytest.param({"x": _X[:0], "y": _Y[:0]}, "no_samples", id="no sample"),
        pytest.param({"x": _X[:3], "y": _Y}, "length_mismatch", id="x shorter than y"),
        pytest.param({"y": _Y}, "missing_array", id="no x"),
        pytest.param({"images": _X, "labels": _Y}, "missing_array", id="other names"),
        pytest.param({"x_test": _X, "y_test": _Y}, "missing_array", id="only a test part"),
        pytest.param({"x": _X, "y": _Y, "x_test": _X}, "missing_array", id="test without y"),
        pytest.param({"x": _X, "x_test": _X, "y_test": _Y}, "missing_array", id="y in the test"),
        pytest.param({"x_test": _X}, "missing_array", id="only a test part, without y"),
        pytest.param({"x/a": _X, "x/b": _X[:3]}, "length_mismatch", id="unequal inputs"),
        pytest.param(
            {"x_train/a": _X, "x_train/b": _X, "y_train": _Y, "x_test/a": _X, "y_test": _Y},
            "missing_array",
            id="an input less in the test",
        ),
        pytest.param({"x": _X, "x_train": _X, "y": _Y}, "ambiguous_arrays", id="x and x_train"),
        pytest.param(
            {"x_train": _X, "x_train/a": _X, "y_train": _Y}, "ambiguous_arrays", id="bare and named"
        ),
        pytest.param(
            {"x": _X, "y": _Y, "x_test": _X[:, :2], "y_test": _Y}, "shape_mismatch", id="shapes"
        ),
        pytest.param({"x": np.full((4, 3), np.nan), "y": _Y}, "not_finite", id="NaN"),
        pytest.param({"x": _X, "y": np.array([0, 1, -np.inf, 1])}, "not_finite", id="infinity"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_by_name(npz, arrays, code):
    refusal = _refusal(npz(**arrays))

    assert refusal.code == code
    assert refusal.hint


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_found_wherever_it_stands(npz, monkeypatch, value):
    monkeypatch.setattr(dataset, "_BLOCK_BYTES", 16)
    for place in range(12):
        x = _X.copy()
        x.flat[place] = value

        assert _refusal(npz(x=x, y=_Y)).code == "not_finite"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(b"", "empty_file", id="nothing"),
        pytest.param(b"PK\x03", "truncated", id="three bytes"),
        pytest.param(b"\x93NUMPY\x01\0", "not_a_dataset", id="a single array"),
        pytest.param(b"no data\0", "not_a_dataset", id="no text"),
    ],
)
def test_what_is_no_archive_is_refused(tmp_path, content, code):
    path = tmp_path / "data.npz"
    path.write_bytes(content)

    assert _refusal(path).code == code


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.99])
def test_a_truncated_file_is_called_truncated(npz, share):
    path = npz(x=_X, y=_Y)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])

    assert _refusal(path).code == "truncated"


def _npy(header, data=b""):
    header = header.encode().ljust(118)
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + data


@pytest.mark.parametrize(
    "member",
    [
        pytest.param(
            _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (9,), }", bytes(4)), id="short"
        ),
        pytest.param(
            _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", bytes(9)), id="long"
        ),
        pytest.param(
            _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", bytes(4)),
            id="negative",
        ),
        pytest.param(_npy("__import__('os').system('true')"), id="code"),
        pytest.param(_npy("{" + "(" * 100), id="brackets"),
        pytest.param(b"once upon a time, there was no header", id="no header"),
        pytest.param(b"\x93NUMPY\x03\0" + bytes(10), id="another version"),
        pytest.param(b"\x93NUMPY\x07\0" + bytes(10), id="an unknown version"),
    ],
)
def test_a_header_that_does_not_tell_the_truth_is_refused(tmp_path, member):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", member)
        archive.writestr("y.npy", member)

    assert _refusal(path).code in {"damaged", "no_samples"}
