"""What Keras 2 wrote that Keras 3 does not read, or takes for something else; said for Keras 3.

Keras 2 has another ``hard_sigmoid``: clip(0.2 x + 0.5, 0, 1), where that of Keras 3 is
clip(x / 6 + 0.5, 0, 1). The second at 1.2 x is the first at x, so the weights that lead to it are
held 1.2 times as large, and the model is the same function of its inputs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.jobs.errors import RefusedFileError
from app.jobs.intake.classes import names
from app.jobs.intake.json_text import Json, JsonObject
from app.jobs.intake.layers import Layer
from app.jobs.intake.weights import StoredWeight

#: How much steeper Keras 2's ``hard_sigmoid`` is.
STEEPER = 1.2
#: What a converted file calls the Keras that it is for.
CONVERTED_TO = "3"

_HARD_SIGMOID = "hard_sigmoid"
_NAMES_SHOWN = 5

_RECURRENT = names("RNN SimpleRNN LSTM GRU ConvLSTM1D ConvLSTM2D ConvLSTM3D")
_WITHOUT_GROUPS = names(
    "DepthwiseConv1D DepthwiseConv2D SeparableConv1D SeparableConv2D "
    "Conv1DTranspose Conv2DTranspose Conv3DTranspose"
)
_SEPARABLE = names("SeparableConv1D SeparableConv2D")
_WRAPPERS = names("TimeDistributed")
#: Settings that Keras 3 does not know. Those with a value here did nothing at this value; the
#: others did nothing at all.
_NEUTRAL: dict[str, Json] = {"time_major": False, "groups": 1}
_GONE: dict[str, frozenset[str]] = {
    **dict.fromkeys(_RECURRENT, frozenset({"time_major"})),
    **dict.fromkeys(_WITHOUT_GROUPS, frozenset({"groups"})),
    **dict.fromkeys(
        _SEPARABLE, names("groups kernel_initializer kernel_regularizer kernel_constraint")
    ),
}

#: Layers whose activation is of a sum that grows with all of these weights alike.
_SUMMED: dict[str, frozenset[str]] = {
    **dict.fromkeys(
        names(
            "Dense EinsumDense Conv1D Conv2D Conv3D Conv1DTranspose Conv2DTranspose "
            "Conv3DTranspose DepthwiseConv1D DepthwiseConv2D SimpleRNN SimpleRNNCell"
        ),
        names("kernel recurrent_kernel bias"),
    ),
    **dict.fromkeys(_SEPARABLE, names("pointwise_kernel bias")),
}
#: Along the last axis of each weight: how many gates, and which of them have the activation of
#: this setting. LSTM: input, forget, candidate, output; GRU: update, reset, candidate.
_GATES: dict[tuple[str, str], tuple[int, tuple[int, ...]]] = {
    **{
        (class_name, "recurrent_activation"): (4, (0, 1, 3))
        for class_name in names("LSTM LSTMCell ConvLSTM1D ConvLSTM2D ConvLSTM3D")
    },
    **{(class_name, "recurrent_activation"): (3, (0, 1)) for class_name in names("GRU GRUCell")},
    **{(class_name, "activation"): (3, (2,)) for class_name in names("GRU GRUCell")},
}


@dataclass(frozen=True)
class Scaling:
    """A stored weight, some of whose columns become ``STEEPER`` times as large."""

    path: str  #: In the HDF5 file.
    gates: int  #: Parts of equal size along the last axis.
    scaled: tuple[int, ...]  #: Those parts that become larger.


@dataclass(frozen=True)
class Rewritten:
    """A configuration as Keras 3 takes it."""

    config: JsonObject
    changes: tuple[str, ...]  #: What was changed, in words; empty where nothing had to be.


def was_written_by_keras_2(keras_version: str) -> bool:
    """Whether a file is from before Keras 3."""
    return keras_version.startswith(("1.", "2."))


def rewritten(config: JsonObject, *, keras_version: str) -> Rewritten:
    """Return the configuration of a model without what Keras 3 does not know.

    Args:
        config: As it stands in the file.
        keras_version: Of the Keras that wrote it.

    Raises:
        RefusedFileError: ``keras2_only``.

    >>> config = {"class_name": "LSTM", "config": {"name": "lstm", "time_major": False}}
    >>> rewritten(config, keras_version="2.15.0").changes
    ('time_major is left out (lstm)',)
    """
    rewriter = _Rewriter(is_of_keras_2=was_written_by_keras_2(keras_version))
    found = rewriter.over(config)
    assert isinstance(found, dict), "an object stays one"
    return Rewritten(found, rewriter.changes())


def scalings(weights: Iterable[StoredWeight]) -> tuple[Scaling, ...]:
    """Return what becomes of the weights of a file of Keras 2 whose layers use ``hard_sigmoid``."""
    return tuple(
        Scaling(weight.path, *gates)
        for weight in weights
        for gates in _gates(weight.layer, weight.name)
    )


def require_expressible(layers: Iterable[Layer]) -> None:
    """Refuse layers of Keras 2 that no other settings and no scaled weights make up for.

    Raises:
        RefusedFileError: ``keras2_only``.
    """
    for layer in layers:
        if layer.class_name == "MultiHeadAttention":
            fault = "calls in a form of its own"
            raise _only_in_keras_2(layer.path, layer.class_name, fault)
        settings = _hard_settings(layer)
        known = {
            setting
            for setting in settings
            if (setting == "activation" and layer.class_name in _SUMMED)
            or (layer.class_name, setting) in _GATES
        }
        if layer.class_name != "Activation" and settings - known:
            raise _only_in_keras_2(
                layer.path, layer.class_name, f"{min(settings - known)} hard_sigmoid"
            )
        constraints = [
            name for name, value in layer.config.items() if name.endswith("_constraint") and value
        ]
        if known and constraints:
            fault = f"hard_sigmoid beside a {constraints[0]}"
            raise _only_in_keras_2(layer.path, layer.class_name, fault)


def uses_hard_sigmoid(layers: Iterable[Layer]) -> list[str]:
    """Return the paths of the layers that do."""
    return [layer.path for layer in layers if _hard_settings(layer)]


def in_words(what: str, layers: list[str]) -> str:
    """Return what was changed, and in which layers."""
    more = len(layers) - _NAMES_SHOWN
    shown = ", ".join(layers[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
    return f"{what} ({shown})"


def _hard_settings(layer: Layer) -> set[str]:
    return {
        name
        for name in ("activation", "recurrent_activation")
        if layer.config.get(name) == _HARD_SIGMOID
    }


def _gates(layer: Layer, weight: str) -> list[tuple[int, tuple[int, ...]]]:
    """Return the parts of a weight that lead to a ``hard_sigmoid``; at most one entry."""
    settings = _hard_settings(layer)
    if "activation" in settings and weight in _SUMMED.get(layer.class_name, frozenset()):
        return [(1, (0,))]
    found = [
        _GATES[layer.class_name, setting]
        for setting in settings
        if (layer.class_name, setting) in _GATES
    ]
    if not found:
        return []
    return [(found[0][0], tuple(sorted(gate for _, scaled in found for gate in scaled)))]


class _Rewriter:
    """Goes through one configuration, and remembers what it changed."""

    def __init__(self, *, is_of_keras_2: bool) -> None:
        self._is_of_keras_2 = is_of_keras_2
        self._changed: dict[str, list[str]] = {}

    def changes(self) -> tuple[str, ...]:
        return tuple(in_words(what, layers) for what, layers in self._changed.items())

    def over(self, value: Json) -> Json:
        if isinstance(value, list):
            return [self.over(item) for item in value]
        if not isinstance(value, dict):
            return value
        inside = {key: self.over(child) for key, child in value.items()}
        return self._entry(inside) if isinstance(inside.get("class_name"), str) else inside

    def _entry(self, entry: JsonObject) -> JsonObject:
        class_name, config = str(entry["class_name"]), entry.get("config")
        if class_name == "Sequential" and isinstance(config, list):
            # As it was before Keras 2.2.3.
            name = entry.get("name", "sequential")
            self._note("the list of layers is given a name", str(name))
            config = {"name": name, "layers": config}
        if not isinstance(config, dict):
            return entry
        if class_name == "Sequential":
            return {**entry, "config": self._with_input(config)}
        if class_name in {"Functional", "Model"} and self._is_of_keras_2:
            return {**entry, "config": self._with_first_calls(config)}
        name = str(config.get("name"))
        if class_name in _WRAPPERS:
            config = self._with_plain_axis(config)
        if (
            class_name == "Activation"
            and self._is_of_keras_2
            and config.get("activation") == _HARD_SIGMOID
        ):
            self._note("hard_sigmoid is that of Keras 3 at 1.2 times the input", name)
            return {**entry, "class_name": "Sequential", "config": _steeper_activation(name)}
        return {**entry, "config": self._without_gone(class_name, name, config)}

    def _with_input(self, config: JsonObject) -> JsonObject:
        """Say the shape of the input by a layer, which Keras 3 misreads in the first layer."""
        layers = config.get("layers")
        first = layers[0] if isinstance(layers, list) and layers else None
        inner = first.get("config") if isinstance(first, dict) else None
        if (
            not (isinstance(layers, list) and isinstance(first, dict) and isinstance(inner, dict))
            or first.get("class_name") == "InputLayer"
            or "batch_input_shape" not in inner
        ):
            return config
        name = str(inner.get("name"))
        self._note("the shape of the input is said by a layer of its own", name)
        said: JsonObject = {
            "name": f"{name}_input",
            "batch_input_shape": inner["batch_input_shape"],
            "dtype": inner.get("dtype", "float32"),
        }
        own = {key: value for key, value in inner.items() if key != "batch_input_shape"}
        rest: list[Json] = [{**first, "config": own}, *layers[1:]]
        return {**config, "layers": [{"class_name": "InputLayer", "config": said}, *rest]}

    def _with_plain_axis(self, config: JsonObject) -> JsonObject:
        """Give the one axis of a wrapped layer as a number; elsewhere Keras 3 does it itself."""
        match config.get("layer"):
            case {"config": {"axis": [int(axis)], **settings}, **wrapped}:
                self._note("the axis is given as a number", str(settings.get("name")))
                return {**config, "layer": {**wrapped, "config": {**settings, "axis": axis}}}
            case _:
                return config

    def _with_first_calls(self, config: JsonObject) -> JsonObject:
        """Count the calls of a model inside from 0: Keras 2 also counts how it was built."""
        entries = config.get("layers")
        if not isinstance(entries, list):
            return config
        built = {_name_of(entry) for entry in entries if _begins_with_input(entry)}
        for name in sorted(built):
            self._note("the calls of a model inside are counted anew", name)
        return {key: _counted_anew(value, built) for key, value in config.items()}

    def _without_gone(self, class_name: str, name: str, config: JsonObject) -> JsonObject:
        gone = _GONE.get(class_name, frozenset()) & config.keys()
        for setting in sorted(gone):
            if setting in _NEUTRAL and config[setting] != _NEUTRAL[setting]:
                raise _only_in_keras_2(name, class_name, f"{setting} {config[setting]}")
            self._note(f"{setting} is left out", name)
        return {setting: value for setting, value in config.items() if setting not in gone}

    def _note(self, what: str, layer: str) -> None:
        self._changed.setdefault(what, []).append(layer)


def _begins_with_input(entry: Json) -> bool:
    """Whether a layer is a model that knew its inputs before it was called."""
    match entry:
        case {"class_name": "Functional" | "Model"}:
            return True
        case {"class_name": "Sequential", "config": {"layers": [{"class_name": "InputLayer"}, *_]}}:
            return True
        case _:
            return False


def _name_of(entry: Json) -> str:
    match entry:
        case {"name": str(name)} | {"config": {"name": str(name)}}:
            return name
        case _:
            return ""


def _counted_anew(value: Json, built: set[str]) -> Json:
    match value:
        case [str(name), int(call), int(tensor), *rest] if name in built and call > 0:
            return [name, call - 1, tensor, *rest]
        case list():
            return [_counted_anew(item, built) for item in value]
        case dict():
            # What is inside those models was counted anew before.
            is_model = isinstance(value.get("config"), dict) and _begins_with_input(value)
            return {
                key: child if is_model and key == "config" else _counted_anew(child, built)
                for key, child in value.items()
            }
        case _:
            return value


def _steeper_activation(name: str) -> JsonObject:
    scale: JsonObject = {"name": f"{name}_scale", "scale": STEEPER, "offset": 0.0}
    activation: JsonObject = {"name": f"{name}_of_scaled", "activation": _HARD_SIGMOID}
    return {
        "name": name,
        "layers": [
            {"class_name": "Rescaling", "config": scale},
            {"class_name": "Activation", "config": activation},
        ],
    }


def _only_in_keras_2(layer: str, class_name: str, what: str) -> RefusedFileError:
    return RefusedFileError(
        "keras2_only",
        f"Layer '{layer}' ({class_name}) has {what}, for which Keras 3 has no equal.",
        hint="Build the same model without it in Keras 3, give it the weights with "
        "load_weights(), save it with model.save('model.keras') and upload that file.",
    )
