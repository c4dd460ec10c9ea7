"""The valid files that everything hostile is made from; no Keras is needed for them."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from bench.hostile.edits import Config, config_of, members, npz

_KERAS = Path(__file__).parents[2] / "tests" / "data" / "small.keras"
_SAMPLES = 64
_FEATURES = 8
_CLASSES = 4


@dataclass(frozen=True)
class Originals:
    """One model in both formats, and data that it can be trained on."""

    keras: bytes
    h5: bytes
    npz: bytes


def originals() -> Originals:
    """Return them: two Dense layers, eight features in, four classes out."""
    keras = _KERAS.read_bytes()
    return Originals(keras=keras, h5=_as_h5(keras), npz=npz(**arrays()))


def arrays() -> dict[str, np.ndarray]:
    """Return the arrays of the data."""
    chance = np.random.default_rng(0)
    return {
        "x_train": chance.random((_SAMPLES, _FEATURES), "float32"),
        "y_train": chance.integers(0, _CLASSES, _SAMPLES),
        "x_test": chance.random((_SAMPLES, _FEATURES), "float32"),
        "y_test": chance.integers(0, _CLASSES, _SAMPLES),
    }


def _as_h5(keras: bytes) -> bytes:
    """Return the same model in the format of Keras 2, as Keras 3 writes it on demand."""
    config = config_of(keras)
    compilation: Config = config.pop("compile_config")
    target = io.BytesIO()
    with (
        h5py.File(io.BytesIO(members(keras)["model.weights.h5"])) as stored,
        h5py.File(target, "w") as file,
    ):
        file.attrs["keras_version"] = "3.15.1"
        file.attrs["backend"] = "tensorflow"
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["training_config"] = json.dumps(compilation)
        group = file.create_group("model_weights")
        names = [layer["config"]["name"] for layer in config["config"]["layers"]]
        group.attrs["layer_names"] = [name.encode() for name in names]
        for place, name in enumerate(names):
            _write_layer(group.create_group(name), name, stored, place - 1)
    return target.getvalue()


def _write_layer(group: h5py.Group, name: str, stored: h5py.File, place: int) -> None:
    # The input layer, which stands before all others, has no weights.
    weights = ("kernel", "bias") if place >= 0 else ()
    group.attrs["weight_names"] = np.array([f"{name}/{weight}".encode() for weight in weights], "S")
    store = "layers/dense" if place == 0 else f"layers/dense_{place}"
    for number, weight in enumerate(weights):
        group[f"{name}/{weight}"] = stored[f"{store}/vars/{number}"][()]
