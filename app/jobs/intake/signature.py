"""What a model takes and gives, as far as its configuration says so."""

from __future__ import annotations

from collections.abc import Iterator

from app.jobs.intake.classes import MODELS, names
from app.jobs.intake.json_text import Json, JsonObject
from app.jobs.intake.layers import Layer, bad_config
from app.jobs.uploads import TensorSpec

#: Layers whose output is as wide, on its last axis, as their input.
_SAME_WIDTH = names(
    "Activation ActivityRegularization AlphaDropout AveragePooling1D AveragePooling2D "
    "AveragePooling3D BatchNormalization Dropout ELU GaussianDropout GaussianNoise "
    "GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D "
    "GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization Identity LayerNormalization "
    "LeakyReLU Masking MaxPooling1D MaxPooling2D MaxPooling3D PReLU RMSNormalization ReLU "
    "Rescaling Softmax SpatialDropout1D SpatialDropout2D SpatialDropout3D UnitNormalization"
)
_WIDTH_SETTINGS = ("units", "filters", "output_dim")


def inputs_of(root: Layer) -> tuple[TensorSpec, ...]:
    """The inputs of a model in their order, shapes with the batch in front.

    Raises:
        RefusedFileError: ``bad_config``.
    """
    if root.class_name == "Sequential":
        return (_input_of_row(root),)
    inputs = {layer.path: layer for layer in root.children if layer.class_name == "InputLayer"}
    used = list(_sources(root.config.get("input_layers")))
    if not used or any(name not in inputs for name in used):
        raise bad_config(fault="names inputs that it does not have")
    return tuple(_input(name, inputs[name].config, "batch_shape") for name in used)


def outputs_of(root: Layer) -> tuple[str, ...]:
    """Names of the layers that give the outputs, one for each output."""
    if root.class_name == "Sequential":
        return tuple(layer.path for layer in root.children[-1:])
    return tuple(_sources(root.config.get("output_layers")))


def output_units(root: Layer) -> int | None:
    """Size of the last axis of the only output; ``None`` where it is not plain to see."""
    layers = {_name(layer): layer for layer in root.children}
    chain = list(layers) if root.class_name == "Sequential" else _chain_to_output(root)
    for name in reversed(chain):
        layer = layers.get(name)
        if layer is None:
            return None
        if layer.class_name not in _SAME_WIDTH:
            return _units_of(layer)
    return None


def _units_of(layer: Layer) -> int | None:
    if layer.class_name in MODELS:
        return output_units(layer)
    if layer.config.get("data_format") == "channels_first":
        return None
    widths = (layer.config.get(setting) for setting in _WIDTH_SETTINGS)
    return next((width for width in widths if isinstance(width, int)), None)


def _chain_to_output(root: Layer) -> list[str]:
    """Names of the layers that lead to the only output without a fork, the last one last."""
    sources = _sources_by_layer(root.config.get("layers"))
    chain: list[str] = []
    ahead = list(_sources(root.config.get("output_layers")))
    while len(ahead) == 1 and ahead[0] not in chain:
        chain.insert(0, ahead[0])
        ahead = sources.get(ahead[0], [])
    return chain


def _sources_by_layer(entries: Json) -> dict[str, list[str]]:
    sources: dict[str, list[str]] = {}
    for entry in entries if isinstance(entries, list) else ():
        name = entry.get("name") if isinstance(entry, dict) else None
        if isinstance(entry, dict) and isinstance(name, str):
            sources[name] = list(_sources(entry.get("inbound_nodes")))
    return sources


def _sources(value: Json) -> Iterator[str]:
    """Names in every reference ``[name, node, tensor]``, however it is wrapped."""
    if isinstance(value, dict):
        for child in value.values():
            yield from _sources(child)
    elif isinstance(value, list):
        if len(value) > 2 and isinstance(value[0], str) and isinstance(value[1], int):  # noqa: PLR2004
            yield value[0]
            return
        for child in value:
            yield from _sources(child)


def _name(layer: Layer) -> str:
    return layer.path.rpartition("/")[2]


def _input_of_row(root: Layer) -> TensorSpec:
    if not root.children:
        raise bad_config(fault="has no layers")
    first = root.children[0]
    if "batch_shape" in first.config or "batch_input_shape" in first.config:
        return _input(_name(first), first.config, "batch_shape")
    return _input(_name(first), root.config, "build_input_shape")


def _input(name: str, config: JsonObject, setting: str) -> TensorSpec:
    shape = config.get(setting, config.get("batch_input_shape"))
    if not isinstance(shape, list) or not shape:
        raise bad_config(fault=f"gives input '{name}' no shape: build the model before saving it")
    if not all(size is None or isinstance(size, int) for size in shape):
        raise bad_config(fault=f"gives input '{name}' a shape of no numbers: {str(shape)[:80]}")
    sizes = tuple(size if isinstance(size, int) else None for size in shape)
    dtype = config.get("dtype")
    is_plain = isinstance(dtype, str) and dtype.isascii() and dtype.isalnum()
    return TensorSpec(name=name, shape=sizes, dtype=str(dtype) if is_plain else "float32")
