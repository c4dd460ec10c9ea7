"""Keras configurations from strangers: every class in them must be on the allow-list.

Keras finds what to construct by the names in a configuration, so those names decide what runs.
The walk goes through everything that is written, wherever it stands, and never constructs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from app.jobs.errors import RefusedFileError
from app.jobs.intake import classes
from app.jobs.intake.json_text import Json, JsonObject

#: Ceiling of a whole number in a layer, kernel sizes to repetitions. Those that become the shape
#: of a stored weight may be larger, because they are held against it.
_MAX_SETTING = 2**20
_MAX_STORED_SETTING = 2**31
_STORED_SETTINGS = frozenset({"units", "filters", "input_dim", "output_dim"})
#: Ceiling of the product of a shape: 1 GiB of float32 a sample.
_MAX_PRODUCT = 2**28
_FREE_SETTINGS = frozenset({"seed", "name", "dtype"})

#: What has a name of its own without being a layer.
_MODULES_OF_PARTS = frozenset({"keras.losses", "keras.metrics", "keras.optimizers"})

_ACTIVATION_SETTINGS = frozenset({"activation", "recurrent_activation"})
_LOSS_ALIASES = {
    "bce": "binary_crossentropy",
    "kld": "kl_divergence",
    "kullback_leibler_divergence": "kl_divergence",
    "logcosh": "log_cosh",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "mse": "mean_squared_error",
    "msle": "mean_squared_logarithmic_error",
}

_NAMES_SHOWN = 5

_WITHOUT_COMPILATION = (
    "Build the model from Keras' own classes; if only its loss, metrics or optimizer are custom, "
    "load it with compile=False and save it again."
)


def require_known_classes(config: JsonObject, *, modules: bool) -> None:
    """Refuse a configuration that names anything beyond Keras' own modelling classes.

    Args:
        config: The whole configuration, compilation included.
        modules: Whether every class has its module beside it, as in a ``.keras`` file; an HDF5
            file names most by class alone.

    Raises:
        RefusedFileError: ``lambda_layer``, ``unknown_class``, ``quantized_model``,
            ``layer_name``, ``size_out_of_range`` or ``bad_config``.
    """
    custom: dict[str, str] = {}
    #: Beside each value the layer that it belongs to; None for what a model was compiled with.
    stack: list[tuple[Json, str | None]] = [(config, "")]
    while stack:
        value, layer = stack.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                class_name = _class_name(value)
                own = None if layer is None else _layer_of(value, class_name)
                is_inside, layer = bool(layer), own or layer
                if own and is_inside and _is_somebodys_own(value, class_name, modules=modules):
                    custom[own] = class_name.rpartition(">")[2]
                else:
                    _require_known(value, class_name, layer or "", modules=modules)
            stack.extend(
                (child, None if key == "compile_config" else layer) for key, child in value.items()
            )
        elif isinstance(value, list):
            stack.extend((child, layer) for child in value)
    if custom:
        raise _custom_layers(custom)


def loss_name(compilation: Json) -> str | None:
    """Name of the one loss that a model was compiled with, as its function is called.

    ``None`` where there is none, or several.

    Raises:
        RefusedFileError: ``unknown_class``, where it is a function of the uploader's own.

    >>> loss_name({"loss": "mse"})
    'mean_squared_error'
    """
    loss = compilation.get("loss") if isinstance(compilation, dict) else None
    if isinstance(loss, dict):
        named = loss.get("class_name")
        loss = loss.get("config") if named == "function" else named
    if not isinstance(loss, str):
        return None
    name = _LOSS_ALIASES.get(loss.lower(), loss)
    if name in classes.LOSS_FUNCTIONS:
        return name
    if name in classes.LOSSES:
        return _snake_case_of_loss(name)
    raise _unknown(loss, layer="")


def _snake_case_of_loss(class_name: str) -> str:
    flat = class_name.lower()
    return next(
        function for function in classes.LOSS_FUNCTIONS if function.replace("_", "") == flat
    )


def _layer_of(entry: JsonObject, class_name: str) -> str | None:
    """Name of the layer or model that ``entry`` describes; ``None`` where it is a part of one."""
    config = entry.get("config")
    name = config.get("name") if isinstance(config, dict) else None
    is_part = str(entry.get("module")) in _MODULES_OF_PARTS or class_name in classes.PARTS
    return name if isinstance(name, str) and not is_part else None


def _class_name(entry: JsonObject) -> str:
    class_name = entry["class_name"]
    if isinstance(class_name, str):
        return class_name
    raise RefusedFileError(
        "bad_config",
        "The model's configuration has a class_name that is not text.",
        hint="Save the model again from Keras and upload that file.",
    )


def _require_known(entry: JsonObject, class_name: str, layer: str, *, modules: bool) -> None:
    module = entry.get("module")
    if class_name in {"Lambda", "__lambda__"}:
        raise _lambda(layer)
    if class_name in classes.QUANTIZED_POLICIES or _is_quantized(entry.get("config")):
        raise _quantized(layer)
    if class_name in classes.DATA | classes.DATA_OF_FUNCTIONAL:
        return
    if class_name == "function":
        _require_known_function(entry, layer)
        return
    if isinstance(module, str):
        known = class_name in classes.BY_MODULE.get(module, frozenset())
    else:
        known = not modules and _is_known_without_module(class_name)
    if not known or entry.get("registered_name") not in (None, class_name):
        raise _unknown(class_name, layer=layer)
    _require_moderate(entry, layer, modules=modules)


def _is_known_without_module(class_name: str) -> bool:
    # So Keras 2 wrote its own optimizers.
    is_optimizer = class_name.removeprefix("Custom>") in classes.OPTIMIZERS
    return class_name in classes.WITHOUT_MODULE or is_optimizer


def _is_somebodys_own(entry: JsonObject, class_name: str, *, modules: bool) -> bool:
    """Whether a layer is of a class that Keras never had."""
    module = entry.get("module")
    is_of_keras = isinstance(module, str) and module.startswith("keras")
    known = classes.WITHOUT_MODULE | classes.REFUSED_LAYERS | classes.PARTS
    return class_name.isprintable() and not (is_of_keras if modules else class_name in known)


def _require_known_function(entry: JsonObject, layer: str) -> None:
    name = entry.get("config")
    if (
        not isinstance(name, str)
        or name not in classes.FUNCTIONS
        or str(entry.get("module")) not in classes.FUNCTION_MODULES
        or entry.get("registered_name") not in (None, name)
    ):
        raise _unknown(str(name), layer=layer)


def _require_moderate(entry: JsonObject, layer: str, *, modules: bool) -> None:
    config = entry.get("config")
    if entry["class_name"] not in classes.LAYERS or not isinstance(config, dict):
        return
    if entry["class_name"] == "TextVectorization":
        _require_words(config, layer, in_archive=modules)
    for setting, value in config.items():
        activation = value if setting in _ACTIVATION_SETTINGS else None
        if isinstance(activation, str) and activation not in classes.ACTIVATIONS:
            raise _unknown(activation, layer=layer)
        if setting not in _FREE_SETTINGS:
            _require_small(layer, setting, value)


def _require_words(config: JsonObject, layer: str, *, in_archive: bool) -> None:
    """Refuse a ``TextVectorization`` with code, with a file by name, or with its words lost."""
    for setting, known in classes.TEXT_SETTINGS.items():
        if config.get(setting, known[0]) not in known:
            raise RefusedFileError(
                "unknown_class",
                f"In layer '{layer}' (TextVectorization), {setting} must be one of "
                f"{', '.join(map(str, known))}. Received: {str(config[setting])[:80]}.",
                hint="Make the layer with one of these, and save the model again.",
            )
    words = config.get("vocabulary")
    if words is not None and not (
        isinstance(words, list) and all(isinstance(word, str) for word in words)
    ):
        raise _unknown("a vocabulary that is no list of words", layer=layer)
    if words is None and not in_archive:
        raise RefusedFileError(
            "unknown_class",
            f"Layer '{layer}' (TextVectorization) has learnt its words, which an HDF5 file leaves "
            "out.",
            hint="Save the model with model.save('model.keras') and upload that file.",
        )


def _require_small(layer: str, setting: str, value: Json) -> None:
    ceiling = _MAX_STORED_SETTING if setting in _STORED_SETTINGS else _MAX_SETTING
    numbers = list(_whole_numbers(value))
    if any(abs(number) > ceiling for number in numbers):
        fault = f"{setting} must be at most {ceiling}"
    elif math.prod(max(abs(number), 1) for number in numbers) > max(_MAX_PRODUCT, ceiling):
        fault = f"the numbers of {setting} must multiply to at most {_MAX_PRODUCT}"
    else:
        return
    raise RefusedFileError(
        "size_out_of_range",
        f"In layer '{layer}', {fault}. Received: {str(value)[:80]}.",
        hint="No computer trains a layer of this size: check the model.",
    )


def _whole_numbers(value: Json) -> Iterator[int]:
    if isinstance(value, int) and not isinstance(value, bool):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _whole_numbers(item)


def _is_quantized(config: Json) -> bool:
    if not isinstance(config, dict):
        return False
    dtype = config.get("dtype")
    has_quantized_dtype = isinstance(dtype, str) and "_from_" in dtype
    return has_quantized_dtype or config.get("quantization_config") is not None


def _lambda(layer: str) -> RefusedFileError:
    return RefusedFileError(
        "lambda_layer",
        f"Layer '{layer}' is or contains a Lambda: Python code, which is never run here.",
        hint="Replace it by a layer of Keras' own (Rescaling, Reshape, Activation …), or by "
        "keras.ops in a functional model, and save the model again.",
    )


def _unknown(name: str, *, layer: str) -> RefusedFileError:
    where = f"Layer '{layer}' names" if layer else "The model names"
    return RefusedFileError(
        "unknown_class",
        f"{where} {name}, which is none of Keras' own classes and functions for models.",
        hint=_WITHOUT_COMPILATION,
    )


def _custom_layers(custom: dict[str, str]) -> RefusedFileError:
    shown = sorted(custom.items())[:_NAMES_SHOWN]
    named = ", ".join(f"'{layer}' ({class_name})" for layer, class_name in shown)
    more = len(custom) - len(shown)
    return RefusedFileError(
        "unknown_class",
        f"These layers are of classes of your own, whose code is not in the file and is never run "
        f"here: {named}{f' and {more} more' if more else ''}.",
        hint="A layer without weights can be said by Keras' own: use Rescaling, Reshape, "
        "Activation …, or keras.ops on the tensors of a functional model, in its place; then "
        "new.set_weights(old.get_weights()), new.save('model.keras'), and upload that file. One "
        "with weights has to be built from Keras' layers that have them.",
    )


def _quantized(layer: str) -> RefusedFileError:
    return RefusedFileError(
        "quantized_model",
        f"Layer '{layer}' is quantised: whole numbers cannot be fine-tuned.",
        hint="Upload the model as it was before quantize() was called.",
    )
