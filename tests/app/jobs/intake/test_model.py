import json
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest

from app.jobs.errors import RefusedFileError
from app.jobs.intake.model import summarise_model
from app.jobs.outlook import decisions
from pruning_core.config import PruningConfig
from pruning_core.decision import Prune

_KERAS_2 = Path(__file__).parents[3] / "data" / "keras2_cnn.h5"

_GOOD = [
    *(f"{name}.{kind}" for name in ("cnn", "nested", "recurrent") for kind in ("keras", "h5")),
    *(f"{name}.{kind}" for name in ("attention", "convolutions") for kind in ("keras", "h5")),
    *(f"{name}.{kind}" for name in ("normalizations", "frozen") for kind in ("keras", "h5")),
    "two_inputs.keras",
    "half.keras",
    "bare.h5",
]


def _refusal(path):
    with pytest.raises(RefusedFileError) as caught:
        summarise_model(path)
    return caught.value


@pytest.mark.parametrize("name", _GOOD)
def test_finds_the_weights_that_keras_finds_and_decides_what_selection_decides(models, name):
    expected = json.loads((models / "weights.json").read_text())[name]

    summary = summarise_model(models / name)

    found = [
        [weight.layer, weight.class_name, weight.weight, list(weight.shape), weight.reason, outputs]
        for weight, outputs in zip(summary.weights, _outputs(summary), strict=True)
    ]
    assert found == expected


def _outputs(summary):
    """Yield the axes that are outputs, of each weight that is pruned by default."""
    for decision in decisions(summary, PruningConfig()):
        yield list(decision.layout.outputs) if isinstance(decision, Prune) else None


def test_says_what_is_in_a_keras_file(models):
    summary = summarise_model(models / "cnn.keras")

    assert summary.format == "keras"
    assert summary.class_name == "Sequential"
    assert [(i.name, i.shape, i.dtype) for i in summary.inputs] == [
        ("image", (None, 8, 8, 1), "float32")
    ]
    assert summary.outputs == ("dense",)
    assert summary.output_units == 3
    assert summary.compiled_loss == "sparse_categorical_crossentropy"
    assert summary.parameters == sum(math.prod(weight.shape) for weight in summary.weights)
    assert summary.weight_bytes == 4 * summary.parameters


def test_an_hdf5_file_says_what_the_keras_file_says(models):
    keras, h5 = summarise_model(models / "cnn.keras"), summarise_model(models / "cnn.h5")

    assert h5.format == "h5"
    assert h5 == keras.model_copy(update={"format": "h5"})


def test_the_optimizer_is_counted_apart(models):
    fitted, bare = summarise_model(models / "cnn.h5"), summarise_model(models / "bare.h5")

    assert bare.optimizer_bytes == 0
    # Adam: two moments for each trained weight, a counter and a learning rate.
    trained = sum(math.prod(w.shape) for w in fitted.weights if "moving" not in w.weight)
    assert fitted.optimizer_bytes == 2 * 4 * trained + 8 + 4


def test_names_the_inputs_in_the_models_order(models):
    summary = summarise_model(models / "two_inputs.keras")

    assert [tensor.name for tensor in summary.inputs] == ["left", "right"]
    assert summary.output_units == 1
    assert summary.compiled_loss == "mean_squared_error"


def test_layers_carry_what_is_inside_them(models):
    summary = summarise_model(models / "nested.keras")

    parameters = {layer.name: layer.parameters for layer in summary.layers}
    assert parameters["inner"] == parameters["inner/first"] + parameters["inner/second"]


def test_knows_dtypes_that_numpy_lacks(models):
    summary = summarise_model(models / "half.keras")

    assert [weight.dtype for weight in summary.weights[::2]] == ["bfloat16", "float32", "float16"]


def test_a_file_of_keras_2_is_read():
    summary = summarise_model(_KERAS_2)

    assert summary.keras_version.startswith("2.")
    assert [(weight.layer, weight.weight) for weight in summary.weights if weight.prunable] == [
        ("conv", "kernel"),
        ("dense", "kernel"),
        ("classes", "kernel"),
    ]
    assert summary.compiled_loss == "sparse_categorical_crossentropy"


@pytest.mark.parametrize(
    ("name", "code", "named"),
    [
        ("lambda.keras", "lambda_layer", "'code'"),
        ("lambda.h5", "lambda_layer", "'code'"),
        ("custom.keras", "unknown_class", "'mine' (Doubled)"),
        ("custom.h5", "unknown_class", "'mine' (Doubled)"),
        ("activation.h5", "unknown_class", "squared"),
        ("custom_loss.keras", "unknown_class", "The model names squared"),
        ("custom_loss.h5", "unknown_class", "squared"),
        ("quantized.keras", "quantized_model", "quantised"),
        ("cnn.weights.h5", "weights_only", "without the model's architecture"),
        ("weightless.keras", "no_weights", "nothing to prune"),
        ("name.keras", "layer_name", "größe"),
        ("shared.keras", "weights_mismatch", "right/dense"),
    ],
)
def test_what_keras_saved_but_cannot_be_taken_is_refused_by_name(models, name, code, named):
    refusal = _refusal(models / name)

    assert refusal.code == code
    assert named in refusal.message
    assert refusal.hint


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(b"", "empty_file", id="nothing"),
        pytest.param(b"PK", "truncated", id="two bytes of a zip"),
        pytest.param(b"\x89HDF\r", "truncated", id="five bytes of HDF5"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(100), "not_a_model", id="a picture"),
        pytest.param(b"once upon a time", "not_a_model", id="text"),
        pytest.param(b"\x1c\0\0\0TFL3" + bytes(100), "tflite", id="LiteRT"),
        pytest.param(b"PK\x03\x04" + bytes(100), "truncated", id="a zip without directory"),
        pytest.param(b"\x89HDF\r\n\x1a\n" + bytes(100), "truncated", id="a cut HDF5 header"),
        pytest.param(b"\x89HDF\r\n\x1a\n" + bytes(999), "damaged", id="HDF5 without content"),
    ],
)
def test_what_is_no_model_is_refused_by_what_it_is(tmp_path, content, code):
    path = tmp_path / "model.keras"
    path.write_bytes(content)

    assert _refusal(path).code == code


@pytest.mark.parametrize("name", ["cnn.keras", "cnn.h5"])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999])
def test_a_truncated_file_is_called_truncated(models, tmp_path, name, share):
    whole = (models / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: max(4, int(share * len(whole)))])

    assert _refusal(path).code == "truncated"


@pytest.mark.parametrize(
    ("members", "code"),
    [
        pytest.param(["m/saved_model.pb", "m/variables/v"], "saved_model", id="SavedModel"),
        pytest.param(["x_train.npy", "y_train.npy"], "not_a_model", id="a dataset"),
        pytest.param(["config.json", "metadata.json"], "not_a_model", id="no weights"),
        pytest.param(
            ["config.json", "metadata.json", "model.weights.h5", "run.py"],
            "unsafe_archive",
            id="a member too many",
        ),
    ],
)
def test_an_archive_of_something_else_is_refused(tmp_path, members, code):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            archive.writestr(member, "{}")

    assert _refusal(path).code == code


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_every_compression_that_keras_reads_is_read(models, cnn, method):
    assert summarise_model(cnn.packed(method)) == summarise_model(models / "cnn.keras")


def test_weights_that_are_no_hdf5_file_are_refused(cnn):
    cnn.weights.write_bytes(b"once upon a time")

    assert _refusal(cnn.packed()).code == "damaged"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(cnn, value):
    def change(file):
        file["layers/dense/vars/0"][0, 0] = value

    refusal = _refusal(cnn.change_weights(change))

    assert refusal.code == "not_finite"
    assert "layers/dense" in refusal.message


def test_what_the_optimizer_holds_is_not_judged(cnn):
    def change(file):
        file["optimizer/vars/2"][...] = math.nan

    assert summarise_model(cnn.change_weights(change)).optimizer_bytes > 0


def test_a_weight_too_few_is_refused(cnn):
    def change(file):
        del file["layers/dense/vars/1"]

    refusal = _refusal(cnn.change_weights(change))

    assert refusal.code == "weights_mismatch"
    assert "layer 'dense' (Dense) has 2 weights, but 1 are stored" in refusal.message


def test_a_weight_too_many_is_refused(cnn):
    def change(file):
        file["layers/stranger/vars/0"] = np.zeros(3)

    refusal = _refusal(cnn.change_weights(change))

    assert refusal.code == "weights_mismatch"
    assert "layers/stranger/vars/0" in refusal.message


def test_a_declared_size_is_held_against_the_stored_one(cnn):
    config = cnn.config
    cnn.layer(config, "dense")["config"]["units"] = 300_000_000

    refusal = _refusal(cnn.write_config(config))

    assert refusal.code == "weights_mismatch"
    assert "units 300000000" in refusal.message


@pytest.mark.parametrize("equation", ["ab,bcd->acd", "ab,bc,cd->ad", "", None])
def test_an_equation_must_be_one_of_the_stored_kernel(attention, equation):
    config = attention.config
    for entry in config["config"]["layers"]:
        if entry["class_name"] == "EinsumDense":
            entry["config"]["equation"] = equation

    refusal = _refusal(attention.write_config(config))

    assert refusal.code == "weights_mismatch"
    assert "but its kernel is stored with shape [4, 5]" in refusal.message


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        pytest.param(
            lambda file: file["model_weights/dense/sequential/dense"].__delitem__("bias"),
            "announced, but absent",
            id="absent",
        ),
        pytest.param(
            lambda file: file["model_weights/dense"].attrs.__setitem__("weight_names", ["a"]),
            "has 2 weights, but 1 are stored",
            id="not announced",
        ),
        pytest.param(
            lambda file: file["model_weights"].create_dataset("dense/more", data=[1.0]),
            "dense/more belongs to no layer",
            id="too many",
        ),
    ],
)
def test_an_hdf5_file_must_hold_the_weights_that_it_announces(h5, change, fault):
    refusal = _refusal(h5(change))

    assert refusal.code == "weights_mismatch"
    assert fault in refusal.message


def test_weight_names_may_be_spread_over_several_attributes(models, h5):
    def spread(file):
        attributes = file["model_weights/dense"].attrs
        names = attributes.pop("weight_names")
        attributes["weight_names0"], attributes["weight_names1"] = names[:1], names[1:]

    assert summarise_model(h5(spread)) == summarise_model(models / "cnn.h5")


@pytest.mark.parametrize(("setting", "value"), [("activation", "hard_sigmoid"), ("groups", 1)])
def test_a_keras_archive_of_keras_2_that_would_have_to_be_converted_is_refused(cnn, setting, value):
    config = cnn.config
    dense = cnn.layer(config, "dense")
    dense["config"][setting] = value
    if setting == "groups":
        dense["class_name"] = "DepthwiseConv2D"
    metadata = cnn.folder / "metadata.json"
    metadata.write_text(json.dumps({"keras_version": "2.15.0"}))

    refusal = _refusal(cnn.write_config(config))

    assert refusal.code == "keras2_only"
    assert "model.h5" in refusal.hint


def test_a_recurrent_layer_of_keras_2_is_refused(cnn):
    config = cnn.config
    dense = cnn.layer(config, "dense")
    dense["class_name"], dense["config"]["time_major"] = "LSTM", False

    refusal = _refusal(cnn.write_config(config))

    assert refusal.code in {"keras2_only", "weights_mismatch"}
