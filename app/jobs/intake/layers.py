"""The layers of a Keras configuration as a tree, and the weights that each of them must have.

Keras finds weights by walking the constructed objects; here the same walk is made over names.
Paths are those of ``pruning_core.catalogue``: ``encoder/dense``, ``bidirectional/forward_lstm``.

Source: keras 3.15, ``src/saving/saving_lib.py`` and the ``build`` methods in ``src/layers``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.jobs.errors import RefusedFileError
from app.jobs.intake import classes
from app.jobs.intake.json_text import Json, JsonObject
from pruning_core.catalogue import ONE_CELL

#: The largest published classifiers have about 1,000.
_MAX_LAYERS = 2000

#: Names stand in every progress report; those of the longest published networks have about 60.
_LONGEST_NAME = 255

#: What a layer computes in, or an input takes; mixed ones keep their weights in float32.
_DTYPES = classes.names(
    "bfloat16 bool float16 float32 float64 int8 int16 int32 int64 mixed_bfloat16 mixed_float16 "
    "uint8 uint16 uint32 uint64"
)
_TAKE_TEXT = frozenset({"InputLayer", "TextVectorization"})

_CONVOLUTIONS = classes.names(
    "Conv1D Conv2D Conv3D Conv1DTranspose Conv2DTranspose Conv3DTranspose "
    "DepthwiseConv1D DepthwiseConv2D"
)
_SEPARABLE = frozenset({"SeparableConv1D", "SeparableConv2D"})
_CELLS = frozenset({"SimpleRNNCell", "LSTMCell", "GRUCell"})
_ATTENTIONS = frozenset({"MultiHeadAttention", "GroupedQueryAttention"})
_PROJECTIONS = {
    "query_dense": "query",
    "key_dense": "key",
    "gate_dense": "gate",
    "value_dense": "value",
    "output_dense": "attention_output",
}
#: Which setting holds the layers inside; their weights are stored in a group of that name.
_LISTS = {**dict.fromkeys(classes.MODELS, "layers"), "StackedRNNCells": "cells"}
_WRAPPERS = {"RNN": "cell", "TimeDistributed": "layer", "SpectralNormalization": "layer"}


@dataclass(frozen=True)
class Layer:
    """One layer, or a model among layers."""

    path: str  #: Empty for the root.
    class_name: str
    config: JsonObject
    store: str  #: Group of its own weights in ``model.weights.h5``; empty for the root.
    #: Names of the weights that it has itself, in Keras' order; empty for one that is another
    #: layer's, stored twice.
    weights: tuple[str, ...]
    children: tuple[Layer, ...]

    def walk(self) -> Iterator[Layer]:
        """Every layer inside, outer before inner, without this one."""
        for child in self.children:
            yield child
            yield from child.walk()


def layer_tree(config: JsonObject) -> Layer:
    """Return the root of the model that ``config`` describes.

    Raises:
        RefusedFileError: ``bad_config``, ``layer_name`` or ``too_many_layers``.
    """
    class_name = config.get("class_name")
    if class_name not in classes.MODELS:
        raise bad_config(fault=f"describes no Sequential or functional model, but {class_name}")
    return _Builder().root(config)


def bad_config(*, fault: str) -> RefusedFileError:
    """The refusal of a configuration that Keras could not have written."""
    return RefusedFileError(
        "bad_config",
        f"The model's configuration {fault}.",
        hint="Save a Sequential or functional model again from Keras and upload that file.",
    )


class _Builder:
    """Builds one tree, and counts its layers."""

    def __init__(self) -> None:
        self._count = 0

    def root(self, entry: JsonObject) -> Layer:
        class_name, config = _class_and_config(entry)
        return Layer("", class_name, config, "", (), self._inside(class_name, config, "", ""))

    def _layer(self, entry: Json, parent: str, store: str, *, name: str | None = None) -> Layer:
        class_name, config = _class_and_config(entry)
        self._count += 1
        if self._count > _MAX_LAYERS:
            raise RefusedFileError(
                "too_many_layers",
                f"A model must have at most {_MAX_LAYERS} layers.",
                hint="Check how the model is built; if it is right, split it.",
            )
        path = _joined(parent, name or _name_of(config, class_name))
        _require_numbers(config.get("dtype"), path, class_name)
        return Layer(
            path,
            class_name,
            config,
            _joined(store, "cell") if class_name in ONE_CELL else store,
            own_weights(class_name, config),
            self._inside(class_name, config, path, store),
        )

    def _inside(
        self, class_name: str, config: JsonObject, path: str, store: str
    ) -> tuple[Layer, ...]:
        if class_name in _LISTS:
            setting = _LISTS[class_name]
            return self._listed(config.get(setting), path, _joined(store, setting))
        if class_name in _WRAPPERS:
            setting = _WRAPPERS[class_name]
            return (self._layer(config.get(setting), path, _joined(store, setting)),)
        if class_name == "Bidirectional":
            return self._directions(config, path, store)
        if class_name in _ATTENTIONS:
            return self._projections(config, path, store)
        return ()

    def _listed(self, entries: Json, path: str, store: str) -> tuple[Layer, ...]:
        if not isinstance(entries, list):
            raise bad_config(fault="has no list of layers")
        used: dict[str, int] = {}
        layers: list[Layer] = []
        for entry in entries:
            if _is_operation(entry):
                continue
            group = _unique(_snake_case(_class_and_config(entry)[0]), used)
            layers.append(self._layer(entry, path, _joined(store, group)))
        _require_distinct(layers)
        return tuple(layers)

    def _directions(self, config: JsonObject, path: str, store: str) -> tuple[Layer, ...]:
        forward, backward = config.get("layer"), config.get("backward_layer")
        name = _own_name(forward)
        forward_name = "forward_" + name.removeprefix("forward_")
        backward_name = "backward_" + name.removeprefix("backward_")
        if backward is not None:
            backward_name = _own_name(backward)
        return (
            self._layer(forward, path, _joined(store, "forward_layer"), name=forward_name),
            self._layer(
                forward if backward is None else backward,
                path,
                _joined(store, "backward_layer"),
                name=backward_name,
            ),
        )

    def _projections(self, config: JsonObject, path: str, store: str) -> tuple[Layer, ...]:
        # As Keras reads the file, freezing the whole does not freeze these.
        bias_axes = "" if config.get("use_bias", True) else None
        return tuple(
            self._layer(
                {
                    "class_name": "EinsumDense",
                    "config": {"bias_axes": bias_axes, "equation": _equation(name, config)},
                },
                path,
                _joined(store, group),
                name=name,
            )
            for group, name in _PROJECTIONS.items()
            if name != "gate" or config.get("use_gate") is True
        )


def _equation(projection: str, config: JsonObject) -> str:
    """An equation with the kernel of the one that Keras makes up for this projection.

    ``attention_output`` takes heads and their sizes to features, of which there may be several
    axes; the others take features to heads and their sizes. The axes in front, batch and positions,
    are one here: the kernel does not have them.
    """
    if projection != "attention_output":
        return "ab,bcd->acd"
    shape = config.get("output_shape")
    features = "defghijk"[: len(shape)] if isinstance(shape, list) else "d"
    return f"abc,bc{features}->a{features}"


def own_weights(class_name: str, config: JsonObject) -> tuple[str, ...]:
    """Names of the weights that a layer has itself, in the order in which Keras makes them.

    >>> own_weights("Dense", {"use_bias": False})
    ('kernel',)
    """
    return tuple(
        name for name in _WEIGHTS.get(class_name, ()) if _is_made(class_name, name, config)
    )


def _is_made(class_name: str, name: str, config: JsonObject) -> bool:
    condition = _CONDITIONS.get(f"{class_name}/{name}") or _CONDITIONS.get(name)
    return condition is None or condition(config)


#: Every weight that a layer of this class can have itself.
_WEIGHTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_CONVOLUTIONS | {"Dense", "EinsumDense"}, ("kernel", "bias")),
    **dict.fromkeys(_SEPARABLE, ("depthwise_kernel", "pointwise_kernel", "bias")),
    **dict.fromkeys(ONE_CELL | _CELLS, ("kernel", "recurrent_kernel", "bias")),
    "AdditiveAttention": ("scale",),
    "Attention": ("scale", "concat_score_weight"),
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "Embedding": ("embeddings",),
    "GroupNormalization": ("gamma", "beta"),
    "LayerNormalization": ("gamma", "beta"),
    "Normalization": ("mean", "variance", "count"),
    "PReLU": ("alpha",),
    "RMSNormalization": ("scale",),
    "ReversibleEmbedding": ("embeddings", "reverse_embeddings"),
    "SpectralNormalization": ("", "vector_u"),
}

#: Which of them a layer's settings leave out; by weight, or by class and weight.
_CONDITIONS: dict[str, Callable[[JsonObject], bool]] = {
    "bias": lambda config: config.get("use_bias", True) is not False,
    "beta": lambda config: config.get("center", True) is not False,
    "gamma": lambda config: config.get("scale", True) is not False,
    "concat_score_weight": lambda config: config.get("score_mode") == "concat",
    "reverse_embeddings": lambda config: config.get("tie_weights", True) is False,
    "AdditiveAttention/scale": lambda config: config.get("use_scale", True) is not False,
    "Attention/scale": lambda config: config.get("use_scale", False) is True,
    "EinsumDense/bias": lambda config: config.get("bias_axes") is not None,
    "Normalization/mean": lambda config: config.get("mean") is None,
    "Normalization/variance": lambda config: config.get("mean") is None,
    "Normalization/count": lambda config: config.get("mean") is None,
}


def _class_and_config(entry: Json) -> tuple[str, JsonObject]:
    if not isinstance(entry, dict):
        raise bad_config(fault="has a layer that is not an object")
    class_name, config = entry.get("class_name"), entry.get("config")
    if not isinstance(class_name, str) or not isinstance(config, dict):
        raise bad_config(fault="has a layer without class_name and config")
    return _class_name(class_name), config


def _class_name(exported: str) -> str:
    """The class's own name, where Keras exports it under another."""
    if exported == "GroupQueryAttention":
        return "GroupedQueryAttention"
    return exported.replace("Convolution", "Conv")


def _is_operation(entry: Json) -> bool:
    module = entry.get("module") if isinstance(entry, dict) else None
    return isinstance(module, str) and module in classes.OPERATIONS


def _own_name(entry: Json) -> str:
    class_name, config = _class_and_config(entry)
    return _name_of(config, class_name)


def _name_of(config: JsonObject, class_name: str) -> str:
    name = config.get("name")
    if isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME and _is_plain(name):
        return name
    raise RefusedFileError(
        "layer_name",
        f"A layer's name must be plain ASCII text of at most {_LONGEST_NAME} characters without "
        f"'/'. Received: {str(name)[:80]!r} for a layer of class {class_name}.",
        hint="Rename the layer (Keras' name= argument) and save the model again.",
    )


def _is_plain(name: str) -> bool:
    return name.isascii() and name.isprintable() and "/" not in name


def _require_numbers(dtype: Json, path: str, class_name: str) -> None:
    """Refuse a dtype, or a policy by its name, that Keras does not compute in."""
    policy = dtype.get("config") if isinstance(dtype, dict) else None
    name = policy.get("name") if isinstance(policy, dict) else dtype
    takes_text = name == "string" and class_name in _TAKE_TEXT
    if isinstance(name, str) and name not in _DTYPES and not takes_text:
        raise bad_config(fault=f"gives layer '{path}' the dtype {name[:80]!r}, which is no number")


def _require_distinct(layers: list[Layer]) -> None:
    [(twice, count), *_] = Counter(layer.path for layer in layers).most_common(1) or [("", 0)]
    if count > 1:
        raise RefusedFileError(
            "layer_name",
            f"The names of a model's layers must differ. Received twice: {twice}.",
            hint="Rename one of them (Keras' name= argument) and save the model again.",
        )


def _joined(parent: str, name: str) -> str:
    return f"{parent}/{name}" if parent else name


def _snake_case(class_name: str) -> str:
    words = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", class_name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", words).lower()


def _unique(name: str, used: dict[str, int]) -> str:
    if name not in used:
        used[name] = 0
        return name
    used[name] += 1
    return f"{name}_{used[name]}"
