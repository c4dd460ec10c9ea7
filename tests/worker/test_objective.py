import json
import zipfile

import h5py
import numpy as np
import pytest

from app.jobs.spec import Training
from worker.compiled import Compiled, read_compiled
from worker.errors import RefusedError
from worker.labels import Output, labels_from, require_labels_that_fit
from worker.objective import choose_comparison, choose_objective, infer_loss

_CLASSES = np.array([0, 2, 1], np.uint8)
_ONE_HOT = np.eye(3, dtype=np.float32)
_BINARY = np.array([0, 1, 1], np.uint8)
_MULTI_HOT = np.array([[1, 1, 0], [0, 0, 0]], np.uint8)
_SHARES = np.array([[0.5, 0.25, 0.25]], np.float32)
_NUMBERS = np.array([0.5, -2.5, 7.0], np.float32)


def _written(loss) -> str:
    if isinstance(loss, str):
        return loss
    assert loss["config"] == {"from_logits": True}
    return f"{loss['class_name']} of logits"


@pytest.mark.parametrize(
    ("shape", "activation", "labels", "loss"),
    [
        ((3,), "softmax", _CLASSES, "sparse_categorical_crossentropy"),
        ((3,), "softmax", _CLASSES.astype(np.float64), "sparse_categorical_crossentropy"),
        ((3,), "softmax", _CLASSES[:, np.newaxis], "sparse_categorical_crossentropy"),
        ((3,), "sigmoid", _CLASSES, "sparse_categorical_crossentropy"),
        ((3,), "linear", _CLASSES, "SparseCategoricalCrossentropy of logits"),
        ((7, 3), "softmax", np.zeros((2, 7), np.int64), "sparse_categorical_crossentropy"),
        ((3,), "softmax", _ONE_HOT, "categorical_crossentropy"),
        ((3,), "softmax", _SHARES, "categorical_crossentropy"),
        ((3,), "linear", _ONE_HOT, "CategoricalCrossentropy of logits"),
        ((3,), "linear", _SHARES, "mean_squared_error"),
        ((1,), "sigmoid", _BINARY, "binary_crossentropy"),
        ((1,), "linear", _BINARY, "BinaryCrossentropy of logits"),
        ((3,), "sigmoid", _MULTI_HOT, "binary_crossentropy"),
        ((3,), "sigmoid", _ONE_HOT, "binary_crossentropy"),
        ((1,), "linear", _NUMBERS, "mean_squared_error"),
        ((1,), "relu", _CLASSES, "mean_squared_error"),
        ((1,), "tanh", _BINARY, "mean_squared_error"),
        ((1,), "sigmoid", np.array([0.25, 0.5]), "mean_squared_error"),
    ],
)
def test_labels_and_last_activation_speak_for_a_loss(shape, activation, labels, loss):
    assert _written(infer_loss(Output(shape, activation), labels)) == loss


@pytest.mark.parametrize(
    ("shape", "activation", "labels"),
    [((3,), "relu", _CLASSES), ((3,), "softmax", _MULTI_HOT), ((3,), "softmax", _NUMBERS)],
)
def test_labels_that_speak_for_none_are_refused(shape, activation, labels):
    with pytest.raises(RefusedError, match=r"Set training\.loss"):
        infer_loss(Output(shape, activation), labels)


def test_an_inferred_loss_is_said_with_its_kind_of_output():
    choice = choose_objective(
        Training(), Compiled(), output=Output((3,), "linear"), labels=_CLASSES
    )

    [notice] = choice.notices
    assert notice.code == "loss_inferred"
    assert "sparse_categorical_crossentropy of logits" in notice.message
    assert [metric["class_name"] for metric in choice.objective.metrics] == [
        "SparseCategoricalAccuracy"
    ]
    assert choice.classifies


def test_the_spec_comes_before_the_file():
    choice = choose_objective(
        Training(loss="mean_absolute_error", metrics=()),
        Compiled(loss="mse", metrics=("mae",)),
        output=Output((1,), "linear"),
        labels=_NUMBERS,
    )

    assert (choice.objective.loss, choice.objective.metrics) == ("mean_absolute_error", ())
    assert choice.notices == ()
    assert not choice.classifies


def test_the_file_comes_before_what_could_be_inferred():
    choice = choose_objective(
        Training(),
        Compiled(loss="mse", metrics=("mae",)),
        output=Output((3,), "softmax"),
        labels=_ONE_HOT,
    )

    assert (choice.objective.loss, choice.objective.metrics) == ("mse", ("mae",))


def test_between_logits_the_line_for_accuracy_is_drawn_at_zero():
    choice = choose_objective(Training(), Compiled(), output=Output((1,), "linear"), labels=_BINARY)

    [metric] = choice.objective.metrics
    assert metric["config"] == {"name": "accuracy", "threshold": 0.0}


@pytest.mark.parametrize(
    ("loss", "shape", "metric"),
    [
        ("sparse_categorical_crossentropy", (3,), "SparseCategoricalAccuracy"),
        ("categorical_crossentropy", (3,), "CategoricalAccuracy"),
        ("binary_crossentropy", (1,), "BinaryAccuracy"),
    ],
)
def test_accuracy_is_spelled_out_as_keras_takes_it(loss, shape, metric):
    choice = choose_objective(
        Training(),
        Compiled(loss, ("acc", "mae")),
        output=Output(shape, "softmax"),
        labels=_BINARY,
    )

    accuracy, other = choice.objective.metrics
    assert (accuracy["class_name"], accuracy["config"]["name"]) == (metric, "accuracy")
    assert other == "mae"


def test_accuracy_of_several_classes_at_once_is_left_to_keras():
    choice = choose_objective(
        Training(), Compiled(), output=Output((3,), "sigmoid"), labels=_MULTI_HOT
    )

    assert choice.objective.metrics == ("accuracy",)


def test_a_loss_of_probabilities_on_a_model_without_an_activation_is_doubted():
    choice = choose_objective(
        Training(loss="sparse_categorical_crossentropy"),
        Compiled(),
        output=Output((3,), "linear"),
        labels=_CLASSES,
    )

    assert [notice.code for notice in choice.notices] == ["loss_expects_probabilities"]


@pytest.mark.parametrize(
    ("loss", "labels", "shape", "code"),
    [
        ("sparse_categorical_crossentropy", [0, 3], (3,), "label_out_of_range"),
        ("sparse_categorical_crossentropy", [-1, 2], (3,), "label_out_of_range"),
        ("sparse_categorical_crossentropy", [0.5, 1], (3,), "label_shape"),
        ("sparse_categorical_crossentropy", [[0, 0, 1]], (3,), "label_shape"),
        ("categorical_crossentropy", [0, 1], (3,), "label_shape"),
        ("categorical_crossentropy", [[0, 2, 0]], (3,), "label_out_of_range"),
        ("binary_crossentropy", [0, 2], (1,), "label_out_of_range"),
        ("binary_crossentropy", [-1, 1], (1,), "label_out_of_range"),
        ("mse", [[0.5, 0.5]], (3,), "label_shape"),
    ],
)
def test_labels_that_the_loss_cannot_take_are_refused(loss, labels, shape, code):
    with pytest.raises(RefusedError) as refused:
        require_labels_that_fit(
            loss, np.array(labels), output=Output(shape, "softmax"), array="y_test"
        )

    assert refused.value.failure.code == code
    assert "y_test" in refused.value.failure.message


@pytest.mark.parametrize(
    ("loss", "labels", "shape"),
    [
        ("sparse_categorical_crossentropy", [0, 2], (3,)),
        ("binary_crossentropy", [0, 1], (1,)),
        ("binary_crossentropy", [[0], [1]], (1,)),
        ("mse", [[0.5, -7, 3]], (3,)),
        ("mse", [[0.5, -7, 3]], (None,)),
        ("huber", [[[0.5]]], (3,)),
    ],
)
def test_labels_that_fit_are_taken(loss, labels, shape):
    require_labels_that_fit(loss, np.array(labels), output=Output(shape, "linear"), array="y")


_SPARSE = {
    "class_name": "SparseCategoricalCrossentropy",
    "config": {"name": "s", "from_logits": True},
}


@pytest.mark.parametrize(
    ("config", "compiled"),
    [
        pytest.param({"loss": "mse", "metrics": ["mae"]}, Compiled("mse", ("mae",)), id="names"),
        pytest.param(
            {"loss": {"out": "mse"}, "metrics": [["mae"]]}, Compiled("mse", ("mae",)), id="nested"
        ),
        pytest.param({"loss": ["mse", "mae"], "metrics": None}, Compiled(None, ()), id="several"),
        pytest.param({"loss": None, "metrics": None}, Compiled(None, ()), id="none"),
        pytest.param({"loss": _SPARSE, "metrics": []}, Compiled(_SPARSE, ()), id="an object"),
        pytest.param(
            {"loss": {"class_name": "function", "config": "mse"}}, Compiled("mse"), id="a function"
        ),
        pytest.param(
            {"loss": {**_SPARSE, "config": {**_SPARSE["config"], "reduction": "auto"}}},
            Compiled(_SPARSE),
            id="Keras 2's default reduction",
        ),
        pytest.param(
            {"metrics": [[{"class_name": "MeanMetricWrapper", "config": {"fn": "mae"}}]]},
            Compiled(None, ("mae",)),
            id="Keras 2's metrics",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_a_file_says_what_it_was_trained_for(tmp_path, kind, config, compiled):
    path = tmp_path / f"model.{kind}"
    if kind == "keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps({"compile_config": config}))
    else:
        with h5py.File(path, "w") as file:
            file.attrs["training_config"] = json.dumps(config)

    assert read_compiled(path) == compiled


def test_a_file_that_was_not_compiled_says_nothing(tmp_path):
    path = tmp_path / "model.h5"
    h5py.File(path, "w").close()

    assert read_compiled(path) == Compiled()


@pytest.mark.parametrize(
    ("activation", "compiled", "loss", "threshold"),
    [
        ("softmax", None, "categorical_crossentropy", None),
        ("softmax", "mean_squared_error", "categorical_crossentropy", None),
        ("sigmoid", None, "binary_crossentropy", 0.5),
        ("sigmoid", "categorical_crossentropy", "categorical_crossentropy", None),
        ("linear", "categorical_crossentropy", "CategoricalCrossentropy of logits", None),
        ("linear", "binary_crossentropy", "BinaryCrossentropy of logits", 0.0),
    ],
)
def test_without_labels_a_classifier_is_held_to_its_own_probabilities(
    activation, compiled, loss, threshold
):
    output = Output((3,), activation)

    choice = choose_comparison(Training(), Compiled(loss=compiled), output=output)

    assert _written(choice.objective.loss) == loss
    [metric] = choice.objective.metrics
    assert metric == {"class_name": "Agreement", "config": {"threshold": threshold}}


@pytest.mark.parametrize(
    ("asked", "compiled", "loss"),
    [
        (None, None, "mean_squared_error"),
        (None, "poisson", "mean_squared_error"),
        ("huber", None, "huber"),
    ],
)
def test_without_labels_quantities_are_held_to_what_they_were(asked, compiled, loss):
    choice = choose_comparison(
        Training(loss=asked), Compiled(loss=compiled), output=Output((3,), "linear")
    )

    assert (choice.objective.loss, choice.objective.metrics) == (loss, ())


_LOGITS = {"config": {"from_logits": True}}


@pytest.mark.parametrize(
    ("loss", "answers", "labels"),
    [
        ("categorical_crossentropy", [[0.25, 0.75]], [[0.25, 0.75]]),
        ("mean_squared_error", [[-3.0, 8.0]], [[-3.0, 8.0]]),
        ({"class_name": "BinaryCrossentropy", **_LOGITS}, [[0.0]], [[0.5]]),
        ({"class_name": "CategoricalCrossentropy", **_LOGITS}, [[1e4, 1e4]], [[0.5, 0.5]]),
    ],
)
def test_answers_become_labels_that_the_loss_takes(loss, answers, labels):
    np.testing.assert_allclose(labels_from(np.array(answers), loss), labels)
