from pathlib import Path

import numpy as np
import pytest

from app.jobs.spec import Preprocessing
from worker.data import BatchOrder, InputForm, read_dataset
from worker.errors import RefusedError

_X = np.arange(40, dtype=np.uint8).reshape(10, 4)
_Y = np.arange(10, dtype=np.uint8)


def _stored(path: Path, *, compressed: bool = False, **arrays) -> Path:
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


@pytest.fixture
def file(tmp_path):
    return tmp_path / "data.npz"


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_are_read_as_they_were_stored(file, compressed):
    _stored(file, compressed=compressed, x_train=_X, y_train=_Y)

    dataset = read_dataset(file, inputs=["x"], validation_split=0.0)

    np.testing.assert_array_equal(dataset.train.inputs[0], _X)
    np.testing.assert_array_equal(dataset.train.labels, _Y)
    assert dataset.held_out is None


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(np.asfortranarray(_X), id="in Fortran order"),
        pytest.param(_X.astype(">f8"), id="big-endian"),
        pytest.param(np.zeros((10, 0), np.float32), id="without columns"),
    ],
)
def test_arrays_of_any_layout_are_mapped(file, array):
    _stored(file, x=array, y=_Y)

    dataset = read_dataset(file, inputs=["x"], validation_split=0.0)

    np.testing.assert_array_equal(dataset.train.inputs[0], array)


def test_uncompressed_arrays_are_mapped_and_not_copied(file):
    _stored(file, x_train=_X, y_train=_Y)

    dataset = read_dataset(file, inputs=["x"], validation_split=0.0)

    assert isinstance(dataset.train.inputs[0], np.memmap)


def test_the_last_fraction_is_held_out_as_in_keras(file):
    _stored(file, x=_X, y=_Y)

    dataset = read_dataset(file, inputs=["x"], validation_split=0.25)

    assert list(dataset.train.labels) == [0, 1, 2, 3, 4, 5, 6]
    assert list(dataset.held_out.labels) == [7, 8, 9]
    assert dataset.held_out_split == "validation"


def test_a_validation_part_leaves_the_training_part_whole(file):
    _stored(file, x_train=_X, y_train=_Y, x_val=_X[:3], y_val=_Y[:3])

    dataset = read_dataset(file, inputs=["x"], validation_split=0.25)

    assert len(dataset.train) == 10
    assert len(dataset.held_out) == 3


def test_accuracies_come_from_the_test_part_where_there_is_one(file):
    _stored(file, x_train=_X, y_train=_Y, x_test=_X[:4], y_test=_Y[:4])

    dataset = read_dataset(file, inputs=["x"], validation_split=0.5)

    assert (dataset.held_out_split, len(dataset.held_out)) == ("test", 4)
    assert len(dataset.validation) == 5


def test_samples_without_labels_are_divided_alike(file):
    _stored(file, **{"x_train/left": _X, "x_train/right": _X, "x_val/left": _X, "x_val/right": _X})

    dataset = read_dataset(file, inputs=["left", "right"], validation_split=0.25)

    assert (len(dataset.train), len(dataset.held_out)) == (10, 10)
    assert (dataset.train.labels, dataset.held_out.labels) == (None, None)

    _stored(file, x=_X)
    held_out = read_dataset(file, inputs=["x"], validation_split=0.25).held_out
    np.testing.assert_array_equal(held_out.inputs[0], _X[7:])


def test_several_inputs_come_in_the_order_of_the_model(file):
    _stored(file, **{"x_train/left": _X, "x_train/right": _X + 1, "y_train": _Y})

    dataset = read_dataset(file, inputs=["right", "left"], validation_split=0.0)

    np.testing.assert_array_equal(dataset.train.inputs[0], _X + 1)
    np.testing.assert_array_equal(dataset.train.inputs[1], _X)


def test_an_input_without_an_array_is_refused_by_name(file):
    _stored(file, **{"x_train/left": _X, "y_train": _Y})

    with pytest.raises(RefusedError, match="'right' has no array") as refused:
        read_dataset(file, inputs=["left", "right"], validation_split=0.0)

    assert refused.value.failure.hint == "Store it as 'x_train/right'."


@pytest.mark.parametrize(
    ("form", "preprocessing", "stored", "expected"),
    [
        pytest.param((3,), {}, [[0, 1, 2]], [[0.0, 1.0, 2.0]], id="cast, and nothing else"),
        pytest.param((3, 1), {}, [[0, 1, 2]], [[[0.0], [1.0], [2.0]]], id="a last axis is added"),
        pytest.param((3,), {"rescale": 0.5}, [[0, 1, 2]], [[0.0, 0.5, 1.0]], id="rescaled"),
        pytest.param(
            (3,), {"rescale": 0.0, "offset": 1.0}, [[0, 1, 2]], [[1.0, 1.0, 1.0]], id="by zero too"
        ),
        pytest.param((3,), {"offset": -1.0}, [[0, 1, 2]], [[-1.0, 0.0, 1.0]], id="moved"),
    ],
)
def test_a_batch_becomes_what_the_model_takes(form, preprocessing, stored, expected):
    accepted = InputForm("x", form, "float32").accept(
        np.array(stored, np.uint8), Preprocessing(**preprocessing)
    )

    assert accepted.dtype == np.float32
    assert accepted.tolist() == expected


def test_every_epoch_holds_every_sample_once_in_an_order_of_its_own():
    order = BatchOrder(samples=10, batch_size=4, seed=7)

    epochs = [
        np.concatenate([order.at(3 * epoch + batch) for batch in range(3)]) for epoch in (0, 1)
    ]

    assert [len(order.at(step)) for step in range(6)] == [4, 4, 2, 4, 4, 2]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 2
    assert list(epochs[0]) != list(epochs[1])


def test_the_order_is_a_function_of_seed_and_epoch():
    one, same, other = (BatchOrder(samples=50, batch_size=50, seed=seed) for seed in (1, 1, 2))

    assert list(one.at(3)) == list(same.at(3))
    assert list(one.at(3)) != list(other.at(3))


def test_without_a_seed_the_order_is_that_of_the_file():
    order = BatchOrder(samples=5, batch_size=2)

    assert [list(range(5))[order.at(step)] for step in range(3)] == [[0, 1], [2, 3], [4]]
