"""Valid files taken apart, changed, and put together again with the right checksums."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

CONFIG = "config.json"
WEIGHTS = "model.weights.h5"

Config = dict[str, Any]


def members(archive: bytes) -> dict[str, bytes]:
    """Return what is in a zip archive, by name."""
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return {name: file.read(name) for name in file.namelist()}


def packed(contents: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """Return an archive of ``contents``."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as file:
        for name, content in contents.items():
            # A member that says when it was made would be another one each time.
            file.writestr(zipfile.ZipInfo(name), content, compress_type=method)
    return target.getvalue()


def with_members(archive: bytes, **changed: bytes) -> bytes:
    """Return the archive with some members changed; ``_`` in a keyword stands for the dot."""
    return packed(members(archive) | {name.replace("_", "."): new for name, new in changed.items()})


def config_of(keras: bytes) -> Config:
    """Return the configuration of a ``.keras`` file."""
    return json.loads(members(keras)[CONFIG])


def with_config(keras: bytes, change: Callable[[Config], object]) -> bytes:
    """Return the file with its configuration changed."""
    config = config_of(keras)
    change(config)
    return with_config_text(keras, json.dumps(config))


def with_config_text(keras: bytes, text: str) -> bytes:
    """Return the file with another configuration; half characters are written as they are."""
    return packed(members(keras) | {CONFIG: text.encode("utf-8", "surrogatepass")})


def last_layer(config: Config) -> Config:
    """Return the entry of the last layer, a Dense one in the originals."""
    return config["config"]["layers"][-1]


def with_weights(keras: bytes, change: Callable[[h5py.File], object]) -> bytes:
    """Return the ``.keras`` file with the HDF5 file inside changed."""
    contents = members(keras)
    contents[WEIGHTS] = with_h5(contents[WEIGHTS], change)
    return packed(contents)


def with_h5(h5: bytes, change: Callable[[h5py.File], object]) -> bytes:
    """Return the HDF5 file, changed."""
    target = io.BytesIO(h5)
    with h5py.File(target, "r+") as file:
        change(file)
    return target.getvalue()


def npz(**arrays: NDArray[Any]) -> bytes:
    """Return an ``.npz`` file; arrays of objects are pickled."""
    target = io.BytesIO()
    np.savez(target, allow_pickle=True, **arrays)
    return target.getvalue()


def npy(array: NDArray[Any]) -> bytes:
    """Return a ``.npy`` file."""
    target = io.BytesIO()
    np.save(target, array, allow_pickle=True)
    return target.getvalue()
