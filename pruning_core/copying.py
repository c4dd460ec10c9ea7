"""Copies of models: plain Keras, with variables of their own."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, cast

import keras

from pruning_core.errors import UnsupportedModelError


def plain_copy(model: keras.Model) -> keras.Model:
    """Return what saving and loading ``model`` gives, not compiled, nested models neither.

    So layers that are shared stay shared, and state that is no weight (vocabularies) comes along.
    Random seeds that the layers drew for themselves are drawn anew. ``model`` is not touched and
    shares no variable with the copy.

    Raises:
        UnsupportedModelError: Keras cannot load the model again.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model")
        try:
            keras.saving.save_model(model, path, zipped=False)
            _forget_compilation(path / "config.json")
            return _loaded(path, _custom_classes(model))
        except (TypeError, ValueError) as error:
            message = (
                "the model must be one that Keras can save and load again. "
                f"Received: {model.name}, of which Keras says: {error}"
            )
            raise UnsupportedModelError(message) from error


def _loaded(path: Path, custom_objects: dict[str, type[keras.Layer]]) -> keras.Model:
    # The classes, and with them any code, are those of a model that runs in this process.
    return keras.saving.load_model(
        path, custom_objects=custom_objects, compile=False, safe_mode=False
    )


def _forget_compilation(config_path: Path) -> None:
    config = json.loads(config_path.read_bytes())
    config_path.write_text(json.dumps(without_entry(config, "compile_config")))


def without_entry(config: Any, name: str) -> Any:
    """Return what a layer was saved as without its entry ``name``, and those of all inside it."""
    match config:
        case list():
            entries = cast("list[Any]", config)
            return [without_entry(entry, name) for entry in entries]
        case dict():
            settings = cast("dict[str, Any]", config)
            return {
                key: without_entry(value, name)
                for key, value in settings.items()
                if not (key == name and "class_name" in settings)
            }
        case _:
            return config


def _custom_classes(model: keras.Model) -> dict[str, type[keras.Layer]]:
    classes: set[type[keras.Layer]] = {type(layer) for layer in model._flatten_layers()}  # noqa: SLF001
    return {cls.__name__: cls for cls in classes if not cls.__module__.startswith("keras.")}
