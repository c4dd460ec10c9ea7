"""What is in an uploaded model file."""

from __future__ import annotations

import math
import re
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.jobs.errors import RefusedFileError
from app.jobs.intake import archive, hdf5, json_text, keras2
from app.jobs.intake.archive import Archive, open_archive
from app.jobs.intake.configuration import loss_name, require_known_classes
from app.jobs.intake.hdf5 import Contents, read_contents
from app.jobs.intake.json_text import Json, JsonObject, read_object
from app.jobs.intake.keras2 import Rewritten, Scaling
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
_VOCABULARY = "/vocabulary.txt"
_MAX_VOCABULARY_BYTES = 2**26
_MAX_METADATA_BYTES = 2**20
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}", re.ASCII)

_SAVE_AS_KERAS = "Save the model from Keras with model.save('model.keras') and upload that file."
_SAVE_AS_H5 = (
    "Load it in the Keras that it was made with, save it with model.save('model.h5') and upload "
    "that file: it is converted, and its answers are held against the original's."
)
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
        keras_version = _version(metadata.get("keras_version"))
        _require_read_alike_by_keras_3(config, root, keras_version)
        _require_plain_assets(members)
        contents = _read_weights(members)
    return _summary(
        root,
        weights_in_store(root, contents),
        file_format="keras",
        keras_version=keras_version,
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


def _require_plain_assets(members: Archive) -> None:
    """Refuse what would stand beside the weights, but for the words of a ``TextVectorization``."""
    for name in members.names:
        if not name.startswith(_ASSETS):
            continue
        if not name.endswith(_VOCABULARY):
            raise RefusedFileError(
                "unsafe_archive",
                f"The archive has a member that no layer reads ({name}).",
                hint=_SAVE_AS_KERAS,
            )
        try:
            members.read(name, max_bytes=_MAX_VOCABULARY_BYTES).decode("utf-8")
        except UnicodeDecodeError as error:
            raise archive.damaged() from error


def _read_weights(members: Archive) -> Contents:
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, _WEIGHTS)
        with weights.open("wb") as file:
            members.copy(_WEIGHTS, file)
        with weights.open("rb") as file:
            if file.read(len(hdf5.MAGIC)) != hdf5.MAGIC:
                raise archive.damaged()
        return read_contents(weights, must_be_finite=lambda name: not is_training_state(name))


@dataclass(frozen=True)
class Conversion:
    """What makes a file of Keras 2 one of Keras 3."""

    config: JsonObject  #: Of the model, as Keras 3 takes it.
    scalings: tuple[Scaling, ...]
    changes: tuple[str, ...]  #: The same in words; empty where nothing has to be changed.


@dataclass(frozen=True)
class _H5Model:
    """An HDF5 file that was found to be a model."""

    contents: Contents
    keras_version: str
    root: Layer
    weights: tuple[StoredWeight, ...]
    compilation: JsonObject
    conversion: Conversion


def conversion_of(path: Path) -> Conversion:
    """Check the HDF5 model at ``path`` and say what makes it one of Keras 3.

    Raises:
        RefusedFileError: it cannot be taken, or not be said in Keras 3.
    """
    return _read_h5(path).conversion


def _summarise_h5(path: Path) -> ModelSummary:
    model = _read_h5(path)
    return _summary(
        model.root,
        model.weights,
        file_format="h5",
        keras_version=model.keras_version,
        compiled_loss=loss_name(model.compilation),
        optimizer_bytes=_bytes_below("optimizer_weights/", model.contents),
        changes=model.conversion.changes,
    )


def _read_h5(path: Path) -> _H5Model:
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
    require_known_classes({"compile_config": compilation}, modules=False)
    keras_version = _version(contents.text("", "keras_version"))
    said = keras2.rewritten(config, keras_version=keras_version)
    root = layer_tree(said.config)
    weights = weights_in_order(root, contents)
    return _H5Model(
        contents=contents,
        keras_version=keras_version,
        root=root,
        weights=weights,
        compilation=compilation,
        conversion=_conversion(said, root, weights, keras_version),
    )


def _conversion(
    said: Rewritten, root: Layer, weights: tuple[StoredWeight, ...], keras_version: str
) -> Conversion:
    if not keras2.was_written_by_keras_2(keras_version):
        return Conversion(said.config, (), said.changes)
    keras2.require_expressible(root.walk())
    scalings = keras2.scalings(weights)
    scaled = {weight.path: weight.layer.path for weight in weights}
    layers = list(dict.fromkeys(scaled[scaling.path] for scaling in scalings))
    words = "the weights ahead of hard_sigmoid, which is flatter in Keras 3, are held 1.2 times"
    larger = (keras2.in_words(f"{words} as large", layers),) if layers else ()
    return Conversion(said.config, scalings, (*said.changes, *larger))


def _summary(  # noqa: PLR0913
    root: Layer,
    weights: tuple[StoredWeight, ...],
    *,
    file_format: Literal["keras", "h5"],
    keras_version: str,
    compiled_loss: str | None,
    optimizer_bytes: int,
    changes: tuple[str, ...] = (),
) -> ModelSummary:
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
        changes_for_keras_3=changes,
    )


def _require_read_alike_by_keras_3(config: JsonObject, root: Layer, keras_version: str) -> None:
    """Refuse what Keras 3 cannot read in a ``.keras`` of Keras 2, or reads as something else."""
    alien = list(keras2.rewritten(config, keras_version=keras_version).changes)
    if keras2.was_written_by_keras_2(keras_version):
        steep = keras2.uses_hard_sigmoid(root.walk())
        alien += [keras2.in_words("hard_sigmoid is another function", steep)] if steep else []
    if alien:
        raise RefusedFileError(
            "keras2_only",
            f"Keras 3 does not read this .keras file as Keras 2 wrote it: {alien[0]}.",
            hint=_SAVE_AS_H5,
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
