"""What Keras 2 wrote, said for Keras 3; the files were made by Keras 2 (tests/data)."""

from pathlib import Path

import pytest

from app.jobs.errors import RefusedFileError
from app.jobs.intake.hdf5 import Tensor
from app.jobs.intake.keras2 import Scaling, require_expressible, rewritten, scalings
from app.jobs.intake.layers import Layer
from app.jobs.intake.model import conversion_of, summarise_model
from app.jobs.intake.weights import StoredWeight

_DATA = Path(__file__).parents[3] / "data"
_INPUT = {"class_name": "InputLayer", "config": {"name": "in", "batch_input_shape": [None, 4]}}


def _layer(class_name, **settings):
    return {"class_name": class_name, "config": {"name": "one", **settings}}


def _sequential(*layers, name="seq"):
    return {"class_name": "Sequential", "config": {"name": name, "layers": list(layers)}}


def _rewritten(config, version="2.15.0"):
    return rewritten(config, keras_version=version)


def _weight(class_name, weight, **settings):
    layer = Layer("one", class_name, settings, "", (weight,), ())
    return StoredWeight(layer, weight, Tensor((2, 12), "float32", 96), f"model_weights/{weight}")


@pytest.mark.parametrize(
    ("layer", "setting"),
    [
        (_layer("LSTM", time_major=False, units=3), "time_major"),
        (_layer("DepthwiseConv2D", groups=1), "groups"),
        (_layer("Conv2DTranspose", groups=1), "groups"),
        (_layer("SeparableConv1D", kernel_initializer={"class_name": "Zeros"}), "kernel_init"),
    ],
)
def test_a_setting_that_did_nothing_is_left_out(layer, setting):
    found = _rewritten(_sequential(_INPUT, layer))

    assert found.config == _sequential(
        _INPUT,
        {**layer, "config": {k: v for k, v in layer["config"].items() if setting not in k}},
    )
    assert len(found.changes) == 1


def test_what_keras_3_reads_alike_stays_as_it_is():
    config = _sequential(_INPUT, _layer("Conv2D", groups=1, activation="relu"))

    assert _rewritten(config).config == config
    assert not _rewritten(config).changes


@pytest.mark.parametrize(
    "layer", [_layer("LSTM", time_major=True), _layer("DepthwiseConv2D", groups=2)]
)
def test_a_setting_that_did_something_is_refused_by_name(layer):
    with pytest.raises(RefusedFileError, match="Layer 'one'") as caught:
        _rewritten(_sequential(_INPUT, layer))

    assert caught.value.code == "keras2_only"


def test_a_list_of_layers_becomes_a_configuration_that_begins_with_its_input():
    dense = _layer("Dense", units=2, batch_input_shape=[None, 4])

    found = _rewritten({"class_name": "Sequential", "config": [dense]}, "2.1.6").config

    first, second = found["config"]["layers"]
    assert first["class_name"] == "InputLayer"
    assert first["config"]["batch_input_shape"] == [None, 4]
    assert second == _layer("Dense", units=2)


def test_the_calls_of_a_model_inside_are_counted_from_0():
    inner = {
        **_sequential(_INPUT, name="inner"),
        "name": "inner",
        "inbound_nodes": [[["in", 0, 0]]],
    }
    outer = {
        "class_name": "Functional",
        "config": {
            "name": "outer",
            "layers": [
                _INPUT,
                inner,
                {**_layer("Dense"), "inbound_nodes": [[["inner", 1, 0, {}]]]},
            ],
            "output_layers": [["inner", 2, 0]],
        },
    }

    found = _rewritten(outer).config["config"]

    assert found["layers"][2]["inbound_nodes"] == [[["inner", 0, 0, {}]]]
    assert found["output_layers"] == [["inner", 1, 0]]


def test_the_activation_alone_becomes_that_of_keras_3_at_a_larger_input():
    layers = _rewritten(_sequential(_INPUT, _layer("Activation", activation="hard_sigmoid")))

    [_, steeper] = layers.config["config"]["layers"]
    assert steeper["config"]["name"] == "one"
    assert [layer["class_name"] for layer in steeper["config"]["layers"]] == [
        "Rescaling",
        "Activation",
    ]


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (_weight("Dense", "kernel", activation="hard_sigmoid"), (1, (0,))),
        (_weight("LSTM", "bias", recurrent_activation="hard_sigmoid"), (4, (0, 1, 3))),
        (_weight("GRU", "kernel", recurrent_activation="hard_sigmoid"), (3, (0, 1))),
        (_weight("GRU", "kernel", activation="hard_sigmoid"), (3, (2,))),
        (_weight("SeparableConv2D", "pointwise_kernel", activation="hard_sigmoid"), (1, (0,))),
    ],
)
def test_the_columns_ahead_of_hard_sigmoid_become_larger(weight, expected):
    assert scalings([weight]) == (Scaling(weight.path, *expected),)


@pytest.mark.parametrize(
    "weight",
    [
        _weight("Dense", "kernel", activation="sigmoid"),
        _weight("SeparableConv2D", "depthwise_kernel", activation="hard_sigmoid"),
        _weight("LSTM", "kernel", recurrent_activation="sigmoid"),
    ],
)
def test_other_weights_stay_as_they_are(weight):
    assert scalings([weight]) == ()


@pytest.mark.parametrize(
    ("class_name", "settings"),
    [
        ("LSTM", {"activation": "hard_sigmoid"}),
        ("Dense", {"activation": "hard_sigmoid", "kernel_constraint": {"class_name": "MaxNorm"}}),
        ("ELU", {"activation": "hard_sigmoid"}),
        ("MultiHeadAttention", {}),
    ],
)
def test_what_has_no_equal_is_refused(class_name, settings):
    with pytest.raises(RefusedFileError, match="no equal"):
        require_expressible([Layer("one", class_name, settings, "", (), ())])


def test_a_file_of_keras_2_tells_what_will_be_changed():
    changes = summarise_model(_DATA / "keras2_recurrent.h5").changes_for_keras_3

    assert changes[0] == "time_major is left out (lstm, gru, both, of_cell)"
    assert "ways/forward_both" in changes[-1]


def test_both_directions_and_the_cell_inside_are_scaled_each_by_itself():
    scaled = [scaling.path for scaling in conversion_of(_DATA / "keras2_recurrent.h5").scalings]

    # LSTM, GRU, two directions and a cell have three weights each, the Dense layer two.
    assert len(scaled) == len(set(scaled)) == 17


def test_a_file_that_keras_3_reads_as_it_is_is_not_converted():
    assert summarise_model(_DATA / "keras2_cnn.h5").changes_for_keras_3 == ()
