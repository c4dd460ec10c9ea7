"""What a model file says about the training that it comes from.

Losses and metrics are handled as Keras writes them: a name, or ``class_name`` and ``config``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile, is_zipfile

import h5py
from pydantic import JsonValue

SPARSE = "sparse_categorical_crossentropy"
CATEGORICAL = "categorical_crossentropy"
BINARY = "binary_crossentropy"
SQUARED = "mean_squared_error"

_SHORT = {"bce": BINARY, "mse": SQUARED}


@dataclass(frozen=True)
class Compiled:
    """What a model file says about its training."""

    loss: JsonValue = None
    metrics: tuple[JsonValue, ...] = ()


def read_compiled(path: Path) -> Compiled:
    """Return the loss and the metrics that a model file was saved with, if any.

    Args:
        path: A ``.keras`` or HDF5 file that passed the static check.
    """
    config = _compile_config(path)
    if config is None:
        return Compiled()
    losses = tuple(_leaves(config.get("loss")))
    # A loss for each of several outputs fits no single one; None is for an output without any.
    loss = losses[0] if len(losses) == 1 else None
    return Compiled(loss, tuple(_leaves(config.get("metrics"))))


def _compile_config(path: Path) -> Mapping[str, JsonValue] | None:
    if is_zipfile(path):
        with ZipFile(path) as archive:
            return json.loads(archive.read("config.json")).get("compile_config")
    with h5py.File(path) as file:
        written = file.attrs.get("training_config")
        return None if written is None else json.loads(written)


def _leaves(entry: JsonValue) -> Iterator[JsonValue]:
    match entry:
        case str():
            yield entry
        case {"class_name": "function", "config": str(name)}:
            yield name
        case {"class_name": "MeanMetricWrapper", "config": {"fn": str(function)}}:
            # How Keras 2 writes "accuracy"; Keras 3 opens it and then calls the string.
            yield function
        case {"class_name": str(), "config": {"reduction": "auto", **config}, **rest}:
            # Keras 2's word for its default, which Keras 3 names.
            yield {**rest, "class_name": entry["class_name"], "config": config}
        case {"class_name": str()}:
            yield entry
        case dict():
            for inner in entry.values():
                yield from _leaves(inner)
        case list():
            for inner in entry:
                yield from _leaves(inner)
        case _:
            return


def name_of(entry: JsonValue) -> str:
    """Return the name of a loss in snake case.

    >>> name_of({"class_name": "BinaryCrossentropy", "config": {}})
    'binary_crossentropy'
    >>> name_of("mse")
    'mean_squared_error'
    """
    written = entry["class_name"] if isinstance(entry, dict) else entry
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(written)).lower()
    return _SHORT.get(name, name)


def takes_logits(entry: JsonValue) -> bool:
    """Whether a loss takes logits; probabilities are what Keras expects by default."""
    config = entry.get("config") if isinstance(entry, dict) else None
    return isinstance(config, dict) and config.get("from_logits") is True
