"""Copies of models: plain Keras, with variables of their own."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import keras


def plain_copy(model: keras.Model) -> keras.Model:
    """Return what saving and loading ``model`` gives, not compiled, nested models neither.

    So layers that are shared stay shared, and state that is no weight (vocabularies, random
    seeds) comes along. ``model`` is not touched and shares no variable with the copy.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model")
        keras.saving.save_model(model, path, zipped=False)
        forget_compilation(path / "config.json")
        # The classes, and with them any code, are those of a model that runs in this process.
        return keras.saving.load_model(
            path, custom_objects=_custom_classes(model), compile=False, safe_mode=False
        )


def forget_compilation(config_path: Path) -> None:
    """Rewrite a saved model's config so that neither it nor any model in it is compiled."""
    config = json.loads(config_path.read_bytes())
    config_path.write_text(json.dumps(_without_compilation(config)))


def _without_compilation(config: Any) -> Any:
    if isinstance(config, list):
        return [_without_compilation(entry) for entry in config]
    if isinstance(config, dict):
        return {
            key: _without_compilation(value)
            for key, value in config.items()
            if not (key == "compile_config" and "class_name" in config)
        }
    return config


def _custom_classes(model: keras.Model) -> dict[str, type[keras.Layer]]:
    classes = {type(layer) for layer in model._flatten_layers()}  # noqa: SLF001
    return {cls.__name__: cls for cls in classes if not cls.__module__.startswith("keras.")}
