"""Which arrays a file of data becomes, and what is said where it does not fit the model."""

import json

import pytest

from app.jobs.errors import RefusedSpecError
from app.jobs.reading import decoding
from app.jobs.spec import JobSpec
from app.jobs.uploads import ColumnSummary, DatasetSummary, ModelSummary, TensorSpec


def _model(*shapes, dtype="float32", loss=None, units=3):
    names = ["in"] if len(shapes) == 1 else ["a", "b", "c"][: len(shapes)]
    inputs = [
        TensorSpec(name=name, shape=(None, *shape), dtype=dtype)
        for name, shape in zip(names, shapes, strict=True)
    ]
    return ModelSummary(
        format="keras",
        keras_version="3",
        class_name="Functional",
        inputs=tuple(inputs),
        outputs=("out",),
        layers=(),
        weights=(),
        parameters=0,
        weight_bytes=0,
        optimizer_bytes=0,
        compiled_loss=loss,
        output_units=units,
    )


def _data(kind, *columns, arrays=(), classes=(), samples=10):
    return DatasetSummary(
        kind=kind,
        arrays=arrays,
        columns=columns,
        classes=classes,
        ignored=(),
        train_samples=samples,
        validation_samples=0,
        test_samples=0,
        integer_labels=bool(classes),
        lowest_label=0.0 if classes else None,
        highest_label=len(classes) - 1.0 if classes else None,
    )


def _number(name, kind="float", lowest=0.0, highest=2.0, **more):
    return ColumnSummary(name=name, kind=kind, lowest=lowest, highest=highest, **more)


def _images(height, width):
    shape = (10, height, width, None)
    arrays = (TensorSpec(name="x_train", shape=shape, dtype="uint8"),)
    return _data("images", arrays=arrays, classes=("cat", "dog"))


def _read(data, model, **reading):
    spec = JobSpec.model_validate_json(json.dumps({"data": reading}))
    return decoding(spec, model, data)


def _fault(data, model, **reading):
    with pytest.raises(RefusedSpecError) as caught:
        _read(data, model, **reading)
    [error] = caught.value.errors
    return error


_TABLE = _data("csv", _number("x"), _number("y"), _number("label", "integer"))
_BYTES = ColumnSummary(name="picture", kind="bytes", image=(4, 4))
_RECORDS = _data("tfrecord", _BYTES, _number("label", "integer"), _number("w", width=2))
_LABEL = {"name": "label", "kind": "numbers"}


@pytest.mark.parametrize(
    ("shape", "filled"), [((2,), (2,)), ((2, 1), (2, 1)), ((None,), (2,)), ((1, None), (1, 2))]
)
def test_the_columns_of_a_table_fill_the_input(shape, filled):
    found = _read(_TABLE, _model(shape))

    assert [array.shape for array in found.arrays.arrays] == [(10, *filled), (10,)]
    assert (found.arrays.integer_labels, found.arrays.highest_label) == (True, 2.0)
    assert (found.reading.label, found.reading.shuffle) == ("label", True)


def test_each_of_several_inputs_takes_the_column_of_its_name():
    found = _read(_data("csv", _number("b"), _number("a")), _model((1,), ()))

    assert [field.sources for field in found.inputs] == [("a",), ("b",)]
    assert [array.name for array in found.arrays.arrays] == ["x_train/a", "x_train/b"]
    assert not found.arrays.has_labels


def test_names_of_classes_become_their_numbers():
    names = ColumnSummary(name="kind", kind="text", classes=("a", "b", "c"))

    found = _read(_data("csv", _number("x"), names), _model((1,)), label="kind")

    assert (found.arrays.classes, found.arrays.highest_label) == (("a", "b", "c"), 2.0)


def test_labels_are_rows_with_a_single_1_where_the_loss_takes_them():
    found = _read(_TABLE, _model((2,), loss="categorical_crossentropy", units=4))

    assert found.label.shape == (4,)
    assert (found.arrays.integer_labels, found.arrays.highest_label) == (False, 1.0)


@pytest.mark.parametrize(
    ("images", "shape", "size", "expected"),
    [
        ((8, 8), (8, 8, 3), None, ((8, 8, 3), "uint8")),
        ((9, 7), (8, 8, 1), None, ((8, 8, 1), "float32")),
        ((None, 7), (8, 8, 4), None, ((8, 8, 4), "float32")),
        ((9, 7), (None, None, 3), None, ((9, 7, 3), "uint8")),
        ((None, None), (None, None, 3), [6, 5], ((6, 5, 3), "float32")),
    ],
)
def test_images_get_the_size_of_the_model_and_stay_bytes_where_they_have_it(
    images, shape, size, expected
):
    [field] = _read(_images(*images), _model(shape), image_size=size).inputs

    assert (field.shape, field.dtype) == expected


def test_what_is_filled_in_is_read_the_same_again():
    model = _model((None, None, 3))
    first = _read(_images(9, 7), model)

    again = decoding(JobSpec(data=first.reading), model, _images(9, 7))

    assert again == first


def test_an_npz_is_used_as_it_is():
    assert _read(_data("npz"), _model((2,))) is None
    assert _fault(_data("npz"), _model((2,)), label="y").pointer == "/data/label"


@pytest.mark.parametrize(
    ("data", "model", "reading", "pointer", "words"),
    [
        pytest.param(_TABLE, _model((3,)), {}, "/data", "2 columns", id="too few columns"),
        pytest.param(_TABLE, _model((1,), (1,)), {}, "/data", "(a, b)", id="other names"),
        pytest.param(_TABLE, _model((2,)), {"label": "z"}, "/data/label", "x, y", id="no column"),
        pytest.param(
            _data("csv", _number("x"), ColumnSummary(name="n", kind="text")),
            _model((1,)),
            {},
            "/data",
            "texts in n",
            id="texts among the values",
        ),
        pytest.param(
            _TABLE,
            _model((2,), units=2),
            {"label_mode": "categorical"},
            "/data",
            "0 to 1",
            id="more classes than outputs",
        ),
        pytest.param(_images(8, 8), _model((64,)), {}, "/data", "channels", id="no image"),
        pytest.param(_images(8, 8), _model((8, 8, 2)), {}, "/data", "(8, 8, 2)", id="channels"),
        pytest.param(
            _images(None, 8), _model((None, 8, 3)), {}, "/data/image_size", "null", id="no size"
        ),
        pytest.param(
            _images(8, 8),
            _model((8, 8, 3)),
            {"image_size": [4, 4]},
            "/data/image_size",
            "(8, 8)",
            id="another size than the model's",
        ),
        pytest.param(
            _images(8, 8), _model((8, 8, 3), (1,)), {}, "/data", "one input", id="two inputs"
        ),
        pytest.param(
            _data("images", arrays=_images(9, 9).arrays, classes=("a",), samples=10**9),
            _model((8, 8, 3)),
            {},
            "/data",
            "once decoded",
            id="more than a disk holds",
        ),
        pytest.param(
            _data("text", arrays=_images(1, 1).arrays, classes=("a",)),
            _model((1,)),
            {},
            "/data",
            "TextVectorization",
            id="texts for numbers",
        ),
        pytest.param(
            _RECORDS, _model((4, 4, 3)), {}, "/data/features", "picture (1 image)", id="no features"
        ),
        pytest.param(
            _RECORDS,
            _model((2,)),
            {"features": [_LABEL, {"name": "v", "kind": "image"}]},
            "/data/features/1/name",
            "picture, label, w",
            id="an unknown feature",
        ),
        pytest.param(
            _RECORDS,
            _model((2,)),
            {"features": [_LABEL, {"name": "w", "kind": "numbers", "shape": [3]}]},
            "/data/features/1/shape",
            "w (2 float)",
            id="another shape",
        ),
        pytest.param(
            _RECORDS,
            _model((2,)),
            {"features": [_LABEL, {"name": "w", "kind": "image"}]},
            "/data/features/1/kind",
            "w (2 float)",
            id="another kind",
        ),
        pytest.param(
            _RECORDS,
            _model((2,)),
            {"features": [{"name": "w", "kind": "numbers", "shape": [2]}]},
            "/data/features",
            "'label'",
            id="no label described",
        ),
    ],
)
def test_what_does_not_fit_is_refused_where_it_is_said(data, model, reading, pointer, words):
    error = _fault(data, model, **reading)

    assert error.pointer == pointer
    assert words in error.message
