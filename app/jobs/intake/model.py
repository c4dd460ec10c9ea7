"""What is in an uploaded model file."""

from __future__ import annotations

import math
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Literal

from app.jobs.errors import RefusedFileError
from app.jobs.intake import archive, hdf5, json_text
from app.jobs.intake.archive import Archive, open_archive
from app.jobs.intake.configuration import loss_name, require_known_classes
from app.jobs.intake.hdf5 import Contents, read_contents
from app.jobs.intake.json_text import Json, read_object
from app.jobs.intake.layers import Layer, bad_config, layer_tree
from app.jobs.intake.signature import inputs_of, output_units, outputs_of
from app.jobs.intake.weights import (
    StoredWeight,
    is_training_state,
    weights_in_order,
    weights_in_store,
)
from app.jobs.uploads import LayerSummary, ModelSummary, WeightSummary
from pruning_core.config import PruningConfig
from pruning_core.decision import Prune, Skip, Weight, decide

_CONFIG = "config.json"
_METADATA = "metadata.json"
_WEIGHTS = "model.weights.h5"
_ASSETS = "assets/"
_MAX_METADATA_BYTES = 2**20
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}", re.ASCII)

#: Settings that only Keras 2 wrote, and that Keras 3 refuses.
_KERAS_2_SETTINGS: dict[str, frozenset[str]] = {
    "SimpleRNN": frozenset({"time_major"}),
    "LSTM": frozenset({"time_major"}),
    "GRU": frozenset({"time_major"}),
    "DepthwiseConv1D": frozenset({"groups"}),
    "DepthwiseConv2D": frozenset({"groups"}),
}

_SAVE_AS_KERAS = "Save the model from Keras with model.save('model.keras') and upload that file."
_SAVE_FROM_SAVED_MODEL = (
    "Load the original Keras model, save it with model.save('model.keras') and upload that file; "
    "from a SavedModel alone the architecture cannot be had back."
)


def summarise_model(path: Path) -> ModelSummary:
    """Check the model file at ``path`` and say what is in it; its name does not matter.

    Raises:
        RefusedFileError: it cannot be taken; ``code`` is one of the package's table.
    """
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith(archive.MAGIC):
        return _summarise_keras(path)
    if head == hdf5.MAGIC:
        return _summarise_h5(path)
    raise _no_model(head)


def _no_model(head: bytes) -> RefusedFileError:
    if not head:
        return RefusedFileError("empty_file", "The model file is empty.", hint=_SAVE_AS_KERAS)
    if archive.MAGIC.startswith(head) or hdf5.MAGIC.startswith(head):
        return RefusedFileError(
            "truncated",
            f"The model file ends after {len(head)} bytes.",
            hint="The upload or the file was cut short: upload it again.",
        )
    if head[4:8] == b"TFL3":
        return RefusedFileError(
            "tflite",
            "The file is a LiteRT (.tflite) model, which can no longer be trained.",
            hint="Save the Keras model that it was converted from with model.save('model.keras') "
            "and upload that file.",
        )
    return RefusedFileError(
        "not_a_model",
        "The file is neither a .keras archive nor a Keras HDF5 file.",
        hint=_SAVE_AS_KERAS,
    )


def _summarise_keras(path: Path) -> ModelSummary:
    with open_archive(path) as members:
        _require_keras_members(members)
        config = read_object(members.read(_CONFIG, max_bytes=json_text.MAX_BYTES))
        metadata = read_object(members.read(_METADATA, max_bytes=_MAX_METADATA_BYTES))
        require_known_classes(config, modules=True)
        root = layer_tree(config)
        contents = _read_weights(members)
    return _summary(
        root,
        weights_in_store(root, contents),
        file_format="keras",
        keras_version=_version(metadata.get("keras_version")),
        compiled_loss=loss_name(config.get("compile_config")),
        optimizer_bytes=_bytes_below("optimizer/", contents),
    )


def _require_keras_members(members: Archive) -> None:
    names = members.names
    if any(name.rsplit("/", 1)[-1] == "saved_model.pb" for name in names):
        raise RefusedFileError(
            "saved_model",
            "The archive holds a TensorFlow SavedModel, whose graph can run anything.",
            hint=_SAVE_FROM_SAVED_MODEL,
        )
    if _CONFIG not in names:
        raise RefusedFileError(
            "not_a_model",
            "The archive is not a .keras file: it has no config.json.",
            hint=_SAVE_AS_KERAS,
        )
    missing = {_METADATA, _WEIGHTS} - set(names)
    if missing:
        raise RefusedFileError(
            "not_a_model",
            f"The archive is not a .keras file: it has no {min(missing)}.",
            hint=_SAVE_AS_KERAS,
        )
    strangers = [
        name
        for name in names
        if name not in {_CONFIG, _METADATA, _WEIGHTS} and not name.startswith(_ASSETS)
    ]
    if strangers:
        raise RefusedFileError(
            "unsafe_archive",
            f"The archive has a member that Keras never writes ({strangers[0]}).",
            hint=_SAVE_AS_KERAS,
        )


def _read_weights(members: Archive) -> Contents:
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, _WEIGHTS)
        with weights.open("wb") as file:
            members.copy(_WEIGHTS, file)
        with weights.open("rb") as file:
            if file.read(len(hdf5.MAGIC)) != hdf5.MAGIC:
                raise archive.damaged()
        return read_contents(weights, must_be_finite=lambda name: not is_training_state(name))


def _summarise_h5(path: Path) -> ModelSummary:
    contents = read_contents(path, must_be_finite=lambda name: name.startswith("model_weights/"))
    text = contents.text("", "model_config")
    if text is None:
        raise RefusedFileError(
            "weights_only",
            "The HDF5 file holds weights without the model's architecture.",
            hint="Save the whole model with model.save('model.keras') instead of "
            "model.save_weights(), and upload that file.",
        )
    if len(text) > json_text.MAX_BYTES:
        raise bad_config(fault=f"must have at most {json_text.MAX_BYTES} bytes")
    config = read_object(_bytes(text))
    compilation = read_object(_bytes(contents.text("", "training_config") or "{}"))
    require_known_classes(config, modules=False)
    require_known_classes(compilation, modules=False)
    root = layer_tree(config)
    return _summary(
        root,
        weights_in_order(root, contents),
        file_format="h5",
        keras_version=_version(contents.text("", "keras_version")),
        compiled_loss=loss_name(compilation),
        optimizer_bytes=_bytes_below("optimizer_weights/", contents),
    )


def _summary(  # noqa: PLR0913
    root: Layer,
    weights: tuple[StoredWeight, ...],
    *,
    file_format: Literal["keras", "h5"],
    keras_version: str,
    compiled_loss: str | None,
    optimizer_bytes: int,
) -> ModelSummary:
    _require_read_alike_by_keras_3(root, keras_version)
    if not weights:
        raise RefusedFileError(
            "no_weights",
            "The model has no weights: there is nothing to prune.",
            hint="Upload a model with dense, convolutional, recurrent or embedding layers.",
        )
    return ModelSummary(
        format=file_format,
        keras_version=keras_version,
        class_name=root.class_name,
        inputs=inputs_of(root),
        outputs=outputs_of(root),
        layers=_layer_summaries(root, weights),
        weights=tuple(_weight_summary(weight) for weight in weights),
        parameters=sum(math.prod(weight.tensor.shape) for weight in weights),
        weight_bytes=sum(weight.tensor.bytes for weight in weights),
        optimizer_bytes=optimizer_bytes,
        compiled_loss=compiled_loss,
        output_units=output_units(root),
    )


def _require_read_alike_by_keras_3(root: Layer, keras_version: str) -> None:
    """Refuse what Keras 3 cannot read in a file of Keras 2, or reads as something else."""
    for layer in root.walk():
        alien = sorted(layer.config.keys() & _KERAS_2_SETTINGS.get(layer.class_name, frozenset()))
        if keras_version.startswith("2") and "hard_sigmoid" in layer.config.values():
            alien.append("hard_sigmoid, another function in Keras 3")
        if alien:
            raise RefusedFileError(
                "keras2_only",
                f"Keras 3 does not read layer '{layer.path}' ({layer.class_name}) as Keras 2 wrote "
                f"it: {alien[0]}.",
                hint="Build the same model in Keras 3, give it the weights with load_weights(), "
                "save it with model.save('model.keras') and upload that file.",
            )


def _layer_summaries(root: Layer, weights: tuple[StoredWeight, ...]) -> tuple[LayerSummary, ...]:
    own: Counter[str] = Counter()
    for weight in weights:
        own[weight.layer.path] += math.prod(weight.tensor.shape)
    return tuple(
        LayerSummary(
            name=layer.path,
            class_name=layer.class_name,
            parameters=sum(own[inner.path] for inner in (layer, *layer.walk())),
        )
        for layer in root.walk()
    )


def _weight_summary(weight: StoredWeight) -> WeightSummary:
    facts = Weight(
        path=weight.layer.path,
        types=(),
        class_name=weight.layer.class_name,
        name=weight.name,
        rank=len(weight.tensor.shape),
        dtype=weight.tensor.dtype,
        is_trainable=weight.layer.config.get("trainable") is not False,
        equation=_equation(weight),
    )
    by_default = decide(facts, PruningConfig())
    return WeightSummary(
        layer=facts.path,
        class_name=facts.class_name,
        weight=facts.name,
        shape=weight.tensor.shape,
        dtype=facts.dtype,
        prunable=isinstance(by_default, Prune),
        reason=by_default.reason if isinstance(by_default, Skip) else None,
        trainable=facts.is_trainable,
        equation=facts.equation,
    )


def _equation(weight: StoredWeight) -> str | None:
    equation = weight.layer.config.get("equation")
    return equation if isinstance(equation, str) and weight.name == "kernel" else None


def _bytes(text: str) -> bytes:
    # h5py marks bytes that are no UTF-8 in this way: they become themselves again.
    return text.encode("utf-8", "surrogateescape")


def _version(written: Json) -> str:
    return written if isinstance(written, str) and _VERSION.fullmatch(written) else ""


def _bytes_below(group: str, contents: Contents) -> int:
    return sum(tensor.bytes for name, tensor in contents.tensors.items() if name.startswith(group))
