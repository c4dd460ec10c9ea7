"""Architectures that carry code, name what no model needs, or ask for more than there is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from bench.hostile.case import Case
from bench.hostile.edits import (
    Config,
    config_of,
    last_layer,
    with_config,
    with_config_text,
    with_h5,
)
from bench.hostile.originals import Originals
from bench.hostile.planted import Planted

_Change = Callable[[Config], object]


def cases(originals: Originals, planted: Planted) -> Iterator[Case]:
    """Yield models whose weights are fine, in both formats."""
    changes = {
        **_code(planted),
        **_strangers(planted),
        **_places_for_code(planted),
        **_bombs(),
        **_settings(),
        **_trees(),
    }
    for name, change in changes.items():
        yield Case(name=f"configuration: {name}", model=with_config(originals.keras, change))
    for name, change in {**_code(planted), **_strangers(planted)}.items():
        yield Case(name=f"h5 configuration: {name}", model=_h5_with(originals.h5, change))
    for name, text in _texts(originals).items():
        yield Case(name=f"configuration: {name}", model=with_config_text(originals.keras, text))
    for name, value in _attributes().items():
        change = partial(_set_attribute, name=value[0], value=value[1])
        yield Case(name=f"h5 configuration: {name}", model=with_h5(originals.h5, change))


def _h5_with(h5: bytes, change: _Change) -> bytes:
    def rewrite(file: Any) -> None:
        config = json.loads(file.attrs["model_config"])
        change(config)
        file.attrs["model_config"] = json.dumps(config)

    return with_h5(h5, rewrite)


def _layer(class_name: str, module: str = "keras.layers", **config: object) -> Config:
    return {
        "module": module,
        "class_name": class_name,
        "config": {"name": "stranger", **config},
        "registered_name": None,
    }


def _function(name: str, module: str) -> Config:
    return {
        "module": module,
        "class_name": "function",
        "config": name,
        "registered_name": name,
    }


def _lambda(planted: Planted, name: str) -> Config:
    return {
        "class_name": "__lambda__",
        "config": {"value": planted.code(name), "defaults": None, "closure": None},
    }


def _appended(layer: Config) -> _Change:
    return lambda config: config["config"]["layers"].append(layer)


def _set(**settings: object) -> _Change:
    """Return a change of the last layer's settings."""
    return lambda config: last_layer(config)["config"].update(settings)


def _code(planted: Planted) -> dict[str, _Change]:
    code = partial(_lambda, planted)
    kept = _layer("Lambda", function=code("lambda"), arguments={})
    return {
        "a Lambda": _appended(kept),
        "a Lambda that names a function": _appended(
            _layer("Lambda", function=_function("enable_unsafe_deserialization", "keras.config"))
        ),
        "a Lambda in a wrapper": _appended(_layer("TimeDistributed", layer=kept)),
        "a Lambda in both directions": _appended(_layer("Bidirectional", layer=kept)),
        "a Lambda for a cell": _appended(_layer("RNN", cell=kept)),
        "a Lambda in a model inside": _appended(
            _layer("Sequential", "keras", layers=[kept]),
        ),
        "code for an activation": _set(activation=code("activation")),
        "code for an initialiser": _set(kernel_initializer=code("initialiser")),
        "code for a regulariser": _set(kernel_regularizer=code("regulariser")),
        "code for a constraint": _set(kernel_constraint=code("constraint")),
        "code for a size": _set(units=code("size")),
        "code for a name": _set(name=code("name")),
    }


def _strangers(planted: Planted) -> dict[str, _Change]:
    secret = str(planted.secret_file)
    marker = planted.marker("file")
    functions = {
        "os.system": _function("system", "os"),
        "exec": _function("exec", "builtins"),
        "keras.utils.get_file": _function("get_file", "keras.utils"),
        "keras.config.set_floatx": _function("set_floatx", "keras.config"),
        "keras.datasets": _function("load_data", "keras.datasets.mnist"),
        "keras.saving": _function("load_model", "keras.saving"),
        "a file of Keras' own": _function("get_hash", "keras.src.utils.file_utils"),
    }
    classes = {
        "TFSMLayer": _layer("TFSMLayer", filepath=secret),
        "JaxLayer": _layer("JaxLayer", call_fn=_function("system", "os")),
        "TorchModuleWrapper": _layer("TorchModuleWrapper", code=planted.code("torch")),
        "StringLookup": _layer("StringLookup", vocabulary=secret),
        "IntegerLookup": _layer("IntegerLookup", vocabulary=secret),
        "TextVectorization": _layer("TextVectorization", vocabulary=secret),
        "FeatureSpace": _layer("FeatureSpace", "keras.utils", features={}),
        "a network with a path": _layer("ResNet50", "keras.applications", weights=secret),
        "a class of subprocess": _layer("Popen", "subprocess", args=["touch", marker]),
        "a class of pathlib": _layer("Path", "pathlib", args=[secret]),
        "a layer of keras_hub": _layer("RotaryEmbedding", "keras_hub.layers"),
        "a registered class": {**_layer("Dense", units=4), "registered_name": "mine>Dense"},
        "a class without a module": {**_layer("Mine"), "module": None},
        "an operation with a function": _layer("Map", "keras.src.ops.core"),
        "a tensor of any size": _layer("Arange", "keras.src.ops.numpy", stop=10**12),
    }
    return {
        **{f"a function of {name}": _set(activation=each) for name, each in functions.items()},
        **{f"a layer: {name}": _appended(each) for name, each in classes.items()},
    }


def _places_for_code(planted: Planted) -> dict[str, _Change]:
    """Return changes of what only the newer format writes down, or keeps elsewhere."""
    code = partial(_lambda, planted)

    def compiled(**settings: object) -> _Change:
        return lambda config: config["compile_config"].update(settings)

    inner = _layer("Sequential", "keras", layers=[])
    return {
        "code for a loss": compiled(loss=code("loss")),
        "code for a metric": compiled(metrics=[code("metric")]),
        "code for an optimizer": compiled(optimizer=code("optimizer")),
        "a loss of one's own": compiled(loss="my_loss"),
        "an optimizer of one's own": compiled(optimizer=_layer("Mine", "mine.optimizers")),
        "code for the loss of a model inside": _appended(
            {**inner, "compile_config": {"loss": code("inner loss")}}
        ),
        "code beside a layer": lambda config: last_layer(config).update(
            build_config={"input_shape": code("build")}
        ),
        "an optimizer for a model": lambda config: config.update(
            _layer("Adam", "keras.optimizers", learning_rate=0.1)
        ),
        "a layer for a model": lambda config: config.update(_layer("Dense", units=4)),
        "a function for a model": lambda config: config.update(_function("exec", "builtins")),
    }


def _bombs() -> dict[str, _Change]:
    def sized(class_name: str, **settings: Any) -> _Change:
        return _appended(_layer(class_name, **settings))

    return {
        "300,000,000 units": _set(units=300_000_000),
        "2**40 units": _set(units=2**40),
        "a billion repetitions": sized("RepeatVector", n=10**9),
        "a shape of terabytes": sized("Reshape", target_shape=[2**20, 2**20]),
        "a picture of terabytes": sized("UpSampling2D", size=[2**19, 2**19]),
        "a border of terabytes": sized("ZeroPadding1D", padding=[2**40, 2**40]),
        "a table of terabytes": sized("Embedding", input_dim=2**31, output_dim=2**31),
        "a kernel of terabytes": sized("Conv1D", filters=4, kernel_size=[2**40]),
        "categories without end": sized("CategoryEncoding", num_tokens=2**40),
        "an input of terabytes": lambda config: config["config"]["layers"][0]["config"].update(
            batch_shape=[None, 2**40]
        ),
        "3,000 layers": lambda config: config["config"]["layers"].extend(
            _layer("ReLU", name=f"relu_{number}") for number in range(3000)
        ),
        "100 models deep": _appended(_nested(100)),
        "a name of a megabyte": _set(name="a" * 2**20),
        "an equation of a megabyte": sized(
            "EinsumDense", equation="a" * 2**20, output_shape=[4], bias_axes=None
        ),
        "a slow equation": sized(
            "EinsumDense", equation="a" * 5000 + "!", output_shape=[4], bias_axes=None
        ),
    }


def _nested(depth: int) -> Config:
    layer = _layer("ReLU")
    for _ in range(depth):
        layer = _layer("Sequential", "keras", layers=[layer])
    return layer


def _settings() -> dict[str, _Change]:
    """Return settings of the last layer that no Keras takes, or writes."""
    return {
        "units in words": _set(units="four"),
        "units below zero": _set(units=-4),
        "no units": _set(units=0),
        "half a unit": _set(units=4.5),
        "other units than stored": _set(units=5),
        "no such activation": _set(activation="os.system"),
        "a name that is not ASCII": _set(name="größe"),
        "a name with a slash": _set(name="../classes"),
        "a name that is empty": _set(name=""),
        "a name that is none": _set(name=None),
        "the name of another": _set(name="hidden"),
        "a dtype of objects": _set(dtype="object"),
        "a dtype of text": _set(dtype="string"),
        "no such dtype": _set(dtype="float7"),
        "quantised": _set(dtype="int8_from_float32"),
        "no such setting": _set(evil=True),
        "no such initialiser": _set(kernel_initializer="os.system"),
        "no such constraint": _set(kernel_constraint={"a": "b"}),
    }


def _trees() -> dict[str, _Change]:
    def layers(value: object) -> _Change:
        return lambda config: config["config"].update(layers=value)

    return {
        "no layers": layers([]),
        "layers that are no list": layers({"0": "Dense"}),
        "a layer that is text": layers(["Dense"]),
        "a layer without settings": layers([{"class_name": "Dense"}]),
        "a class that is a list": _appended({**_layer("Dense"), "class_name": ["Dense"]}),
        "a class that is none": _appended({**_layer("Dense"), "class_name": None}),
        "only an input": lambda config: config["config"]["layers"].__delitem__(slice(1, None)),
        "an input without a shape": lambda config: config["config"]["layers"][0]["config"].update(
            batch_shape=None
        ),
        "an input in words": lambda config: config["config"]["layers"][0]["config"].update(
            batch_shape=["None", "eight"]
        ),
        "nine features": lambda config: config["config"]["layers"][0]["config"].update(
            batch_shape=[None, 9]
        ),
        "a functional model of nothing": lambda config: config.update(
            module="keras.src.models.functional", class_name="Functional"
        ),
        "a circle": _circle,
    }


def _circle(config: Config) -> None:
    """Make it a functional model whose layers feed one another."""
    [start, hidden, classes] = config["config"]["layers"]
    for layer, source in ((hidden, "classes"), (classes, "hidden")):
        layer["inbound_nodes"] = [{"args": [_tensor(source)], "kwargs": {}}]
    start["inbound_nodes"] = []
    for layer in (start, hidden, classes):
        layer["name"] = layer["config"]["name"]
    config.update(module="keras.src.models.functional", class_name="Functional")
    config["config"].update(input_layers=[["features", 0, 0]], output_layers=[["classes", 0, 0]])


def _tensor(source: str) -> Config:
    history = {"shape": [None, 8], "dtype": "float32", "keras_history": [source, 0, 0]}
    return {"class_name": "__keras_tensor__", "config": history}


def _texts(originals: Originals) -> dict[str, str]:
    return {
        "nothing": "",
        "no JSON": "Sequential([Dense(4)])",
        "a list": "[]",
        "NaN": '{"class_name": "Sequential", "config": {"layers": [NaN]}}',
        "a number of 5,000 digits": '{"class_name": ' + "9" * 5000 + "}",
        "100,000 deep": "[" * 100_000,
        "one key twice": '{"class_name": "Sequential", "class_name": "Lambda", "config": {}}',
        "half a character": '{"class_name": "\udcff"}',
        "the weights of another": json.dumps({"class_name": "Functional", "config": {}}),
        "a zero byte": json.dumps({"class_name": "Sequential\0"}) + "\0",
        "a mark in front": "\ufeff" + json.dumps(config_of(originals.keras)),
    }


def _attributes() -> dict[str, tuple[str, Any]]:
    return {
        "no JSON": ("model_config", "Sequential([Dense(4)])"),
        "no text": ("model_config", 7),
        "bytes": ("model_config", b"\xff\xfe"),
        "a list of texts": ("model_config", [b"a", b"b"]),
        "code for the training": (
            "training_config",
            json.dumps({"loss": {"class_name": "__lambda__", "config": {}}}),
        ),
        "a training of nothing": ("training_config", "[]"),
        "a training of one's own": ("training_config", json.dumps({"loss": "my_loss"})),
    }


def _set_attribute(file: Any, *, name: str, value: Any) -> None:
    file.attrs[name] = value
