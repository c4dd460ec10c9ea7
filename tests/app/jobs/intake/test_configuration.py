import json

import pytest

from app.jobs.errors import RefusedFileError
from app.jobs.intake.configuration import loss_name, require_known_classes
from app.jobs.intake.json_text import read_object
from app.jobs.intake.layers import layer_tree
from app.jobs.intake.model import summarise_model
from app.jobs.intake.signature import inputs_of, output_units


def _layer(class_name="Dense", *, module="keras.layers", **config):
    config = {"name": "it", **config}
    return {
        "module": module,
        "class_name": class_name,
        "config": config,
        "registered_name": None,
    }


def _model(*entries, **more):
    config = {"name": "model", "layers": list(entries)}
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": config,
        "registered_name": None,
        **more,
    }


def _code(config, *, modules=True):
    with pytest.raises(RefusedFileError) as caught:
        require_known_classes(config, modules=modules)
    return caught.value.code


@pytest.mark.parametrize(
    "entry",
    [
        _layer("TFSMLayer"),
        _layer("JaxLayer"),
        _layer("TorchModuleWrapper"),
        _layer("Layer"),
        _layer("StringLookup"),
        _layer("load_model", module="keras.models"),
        _layer("get_file", module="keras.utils"),
        _layer("enable_unsafe_deserialization", module="keras.config"),
        _layer("Dense", module="keras.losses"),
        _layer("Dense", module="os"),
        _layer("Dense", module=None),
        _layer("Map", module="keras.src.ops.core"),
        _layer("Full", module="keras.src.ops.numpy"),
        _layer("__typespec__", module="keras.layers"),
        {**_layer(), "registered_name": "mine>Dense"},
        _layer(activation="my_activation"),
        _layer(activation={**_layer("function", module="builtins"), "config": "system"}),
        _layer(activation={**_layer("function", module="os"), "config": "relu"}),
        _layer(
            activation={
                **_layer("function", module="builtins"),
                "config": "relu",
                "registered_name": "mine>relu",
            }
        ),
        _layer(kernel_initializer=_layer("Doubled", module="mine")),
    ],
)
def test_what_is_not_on_the_list_is_refused(entry):
    assert _code(_model(entry)) == "unknown_class"


@pytest.mark.parametrize("place", ["compile_config", "build_config", "anything"])
def test_it_is_refused_wherever_it_stands(place):
    inner = _model(_layer(), **{place: {"deep": [{"er": _layer("Doubled", module="mine")}]}})

    assert _code(_model(inner)) == "unknown_class"


@pytest.mark.parametrize(
    "code",
    [
        _layer("Lambda", function={"class_name": "__lambda__", "config": {"value": "gA=="}}),
        _layer(activation={"class_name": "__lambda__", "config": {"value": "gA=="}}),
        {"class_name": "__lambda__"},
    ],
)
def test_code_is_refused_as_code(code):
    assert _code(_model(code)) == "lambda_layer"


@pytest.mark.parametrize(
    "entry",
    [
        _layer(dtype=_layer("QuantizedDTypePolicy", module="keras")),
        _layer(dtype="int8_from_float32"),
        _layer(quantization_config=_layer("Int8QuantizationConfig", module="keras.quantizers")),
    ],
)
def test_quantised_layers_are_refused(entry):
    assert _code(_model(entry)) == "quantized_model"


@pytest.mark.parametrize(
    ("class_name", "setting", "value"),
    [
        ("RepeatVector", "n", 10**9),
        ("UpSampling2D", "size", [2**15, 2**15]),
        ("Reshape", "target_shape", [2**15, 2**15]),
        ("ZeroPadding2D", "padding", [[2**21, 0], [0, 0]]),
        ("InputLayer", "batch_shape", [None, 2**15, 2**15]),
        ("Dense", "units", 2**32),
        ("Conv2D", "kernel_size", [-(2**30), 3]),
    ],
)
def test_a_bomb_in_the_architecture_is_refused(class_name, setting, value):
    assert _code(_model(_layer(class_name, **{setting: value}))) == "size_out_of_range"


@pytest.mark.parametrize(
    ("class_name", "settings"),
    [
        ("Dense", {"units": 10, "activation": "relu", "seed": 2**40}),
        ("Dense", {"use_bias": True}),
        ("Embedding", {"input_dim": 10_000_000, "output_dim": 4}),
        ("Dense", {"activation": {**_layer("function", module="builtins"), "config": "relu"}}),
        ("Activation", {"activation": _layer("ReLU")}),
        ("Dropout", {"noise_shape": {"class_name": "__tuple__", "items": [1, 2]}}),
    ],
)
def test_what_keras_writes_passes(class_name, settings):
    require_known_classes(_model(_layer(class_name, **settings)), modules=True)


def test_a_class_name_must_be_text():
    assert _code({"class_name": ["Dense"], "config": {}}) == "bad_config"


def test_an_hdf5_configuration_may_leave_out_modules():
    entry = {"class_name": "Dense", "config": {"name": "it"}}
    optimizer = {"class_name": "Custom>Adam", "config": {}}

    require_known_classes({"layers": [entry], "optimizer_config": optimizer}, modules=False)

    assert _code({"layers": [{"class_name": "Doubled"}]}, modules=False) == "unknown_class"
    assert _code({"layers": [{"class_name": "Custom>Doubled"}]}, modules=False) == "unknown_class"


@pytest.mark.parametrize(
    ("compilation", "name"),
    [
        (None, None),
        ({}, None),
        ({"loss": None}, None),
        ({"loss": "MSE"}, "mean_squared_error"),
        ({"loss": "binary_crossentropy"}, "binary_crossentropy"),
        ({"loss": "KLDivergence"}, "kl_divergence"),
        ({"loss": {"class_name": "Huber", "config": {}}}, "huber"),
        ({"loss": {"class_name": "function", "config": "poisson"}}, "poisson"),
        ({"loss": ["mse", "mae"]}, None),
        ({"loss": {"first": "mse", "second": "mae"}}, None),
    ],
)
def test_the_loss_goes_by_one_name(compilation, name):
    assert loss_name(compilation) == name


def test_a_loss_of_ones_own_is_refused():
    with pytest.raises(RefusedFileError, match="my_loss"):
        loss_name({"loss": "my_loss"})


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("[]", id="no object"),
        pytest.param('{"a": 1, "a": 2}', id="one key twice"),
        pytest.param('{"a": NaN}', id="NaN"),
        pytest.param('{"a": -Infinity}', id="infinity"),
        pytest.param('{"a": 1e999}', id="beyond any float"),
        pytest.param('{"a": ' + "9" * 5000 + "}", id="5,000 digits"),
        pytest.param('{"a": ' + "[" * 200 + "]" * 200 + "}", id="200 deep"),
        pytest.param('{"a": ' + "[" * 100_000, id="100,000 deep"),
        pytest.param('{"a": "\udcff"}', id="no UTF-8"),
        pytest.param(r'{"a": "\ud800"}', id="half a character"),
        pytest.param('{"a": 1', id="cut"),
    ],
)
def test_json_that_no_keras_writes_is_refused(text):
    with pytest.raises(RefusedFileError) as caught:
        read_object(text.encode("utf-8", "surrogateescape"))

    assert caught.value.code == "bad_config"


def test_json_is_read():
    assert read_object(b'{"a": [1, 2.5, null, "b"]}') == {"a": [1, 2.5, None, "b"]}


@pytest.mark.parametrize(
    ("config", "code"),
    [
        (_layer("Dense"), "bad_config"),
        ({"class_name": "Sequential", "config": []}, "bad_config"),
        ({"class_name": "Sequential", "config": {"layers": {}}}, "bad_config"),
        (_model("Dense"), "bad_config"),
        (_model({"class_name": "Dense"}), "bad_config"),
        (_model(_layer("TimeDistributed")), "bad_config"),
        (_model(_layer(name=None)), "layer_name"),
        (_model(_layer(name="a" * 256)), "layer_name"),
        (_model(_layer(dtype="object")), "bad_config"),
        (_model(_layer(dtype="string")), "bad_config"),
        (_model(_layer(dtype=_layer("DTypePolicy", name="float7"))), "bad_config"),
        (_model(_layer(name="a/b")), "layer_name"),
        (_model(_layer(), _layer("Conv2D")), "layer_name"),
        (_model(*(_layer(name=f"dense_{n}") for n in range(2001))), "too_many_layers"),
    ],
)
def test_a_tree_that_keras_could_not_build_is_refused(config, code):
    with pytest.raises(RefusedFileError) as caught:
        layer_tree(config)

    assert caught.value.code == code


def _functional(*layers, inputs, outputs):
    config = {"name": "m", "layers": layers, "input_layers": inputs, "output_layers": outputs}
    return {"class_name": "Functional", "config": {**config, "layers": list(layers)}}


def _node(class_name, name, *sources, **config):
    nodes = [[[source, 0, 0, {}] for source in sources]] if sources else []
    entry = _layer(class_name, **{"name": name, **config})
    return {**entry, "name": name, "inbound_nodes": nodes}


_INPUT = _node("InputLayer", "start", batch_shape=[None, 4])


@pytest.mark.parametrize(
    ("layers", "units"),
    [
        ([_node("Dense", "end", "start", units=7)], 7),
        ([_node("Dense", "a", "start", units=7), _node("Softmax", "end", "a")], 7),
        ([_node("Dense", "a", "start", units=7), _node("Flatten", "end", "a")], None),
        ([_node("Conv2D", "end", "start", filters=7, data_format="channels_first")], None),
        ([_node("Softmax", "end", "start")], None),
        ([_node("Softmax", "end", "end")], None),
        ([_node("Softmax", "end", "nowhere")], None),
    ],
    ids=["dense", "activation behind it", "flattened", "channels first", "input", "loop", "absent"],
)
def test_output_units_are_told_only_where_they_are_plain(layers, units):
    root = layer_tree(_functional(_INPUT, *layers, inputs=[["start", 0, 0]], outputs=["end", 0, 0]))

    assert output_units(root) == units


@pytest.mark.parametrize(
    "config",
    [
        _model(),
        _model(_layer()),
        _functional(_INPUT, inputs=[], outputs=[]),
        _functional(_INPUT, inputs=[["other", 0, 0]], outputs=[]),
        _model(_layer("InputLayer", batch_shape=[None, "eight"])),
    ],
    ids=["no layers", "no shape", "no inputs", "no such input", "a shape in words"],
)
def test_a_model_without_inputs_is_refused(config):
    with pytest.raises(RefusedFileError) as caught:
        inputs_of(layer_tree(config))

    assert caught.value.code == "bad_config"


def test_a_sequential_model_built_by_data_keeps_its_input_apart():
    config = _model(_layer(units=2))
    config["config"]["build_input_shape"] = [None, 4]

    assert inputs_of(layer_tree(config))[0].shape == (None, 4)


def test_the_whole_file_is_refused_for_a_config_that_is_too_large(cnn):
    text = json.dumps(cnn.config) + " " * 32 * 2**20

    with pytest.raises(RefusedFileError) as caught:
        summarise_model(cnn.write_config_text(text))

    assert caught.value.code == "too_large"
