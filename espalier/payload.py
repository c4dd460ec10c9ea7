"""What is uploaded: files as they are, a live model and arrays through a temporary file."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike
from typing_extensions import override


@runtime_checkable
class Saveable(Protocol):
    """A live Keras model, whichever Keras it comes from."""

    def save(self, filepath: Path, /) -> object:
        """Write a ``.keras`` file."""
        ...


Model: TypeAlias = str | Path | Saveable
_Labelled: TypeAlias = tuple[ArrayLike, ArrayLike]
#: A file; arrays by the names that they have in a ``.npz`` file; ``(x, y)``; or what Keras' own
#: datasets give, ``(x_train, y_train), (x_test, y_test)``.
Data: TypeAlias = str | Path | Mapping[str, ArrayLike] | _Labelled | tuple[_Labelled, _Labelled]
#: Told while a request is sent: bytes of files sent so far, and in all.
OnUpload: TypeAlias = Callable[[int, int], None]

_A_PAIR = 2


@contextmanager
def written(model: Model, data: Data | None) -> Generator[dict[str, Path]]:
    """Yield the files of an order by the names of their parts, ``model`` and ``data``.

    Raises:
        OSError: a file cannot be written.
        TypeError: ``model`` is neither a path nor a model, or ``data`` is in no form that is taken.
    """
    with TemporaryDirectory(prefix="espalier-") as folder:
        paths = {"model": _model_file(model, Path(folder))}
        if data is not None:
            paths["data"] = _data_file(data, Path(folder))
        yield paths


@contextmanager
def opened(
    paths: Mapping[str, Path], on_upload: OnUpload | None
) -> Generator[dict[str, tuple[str, BinaryIO]]]:
    """Yield the parts of a form by their names, each as the name of a file and the open file.

    Raises:
        OSError: a file cannot be read.
    """
    with ExitStack() as files:
        meter = Meter(paths, on_upload)
        yield {
            part: (path.name, files.enter_context(_Watched(path, partial(meter.read_to, part))))
            for part, path in paths.items()
        }


class Meter:
    """Adds up how far each file has been read."""

    def __init__(self, paths: Mapping[str, Path], on_upload: OnUpload | None) -> None:
        self._total = sum(path.stat().st_size for path in paths.values())
        self._on_upload = on_upload
        self._places: dict[str, int] = {}

    def read_to(self, part: str, place: int) -> None:
        """Say that a part has been read up to ``place``."""
        self._places[part] = place
        if self._on_upload is not None:
            self._on_upload(sum(self._places.values()), self._total)


class _Watched(io.BufferedReader):
    """An open file that says where it has been read to."""

    def __init__(self, path: Path, on_read: Callable[[int], None]) -> None:
        super().__init__(path.open("rb", buffering=0))
        self._on_read = on_read

    @override
    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(size)
        self._on_read(self.tell())
        return block


def _model_file(model: object, folder: Path) -> Path:
    if isinstance(model, str | Path):
        return Path(model)
    if not isinstance(model, Saveable):
        message = f"model must be a path or a Keras model. Received: {type(model).__name__}"
        raise TypeError(message)
    path = folder / "model.keras"
    model.save(path)
    return path


def _data_file(data: Data, folder: Path) -> Path:
    if isinstance(data, str | Path):
        return Path(data)
    path = folder / "data.npz"
    np.savez(path, allow_pickle=False, **_arrays(data))
    return path


def _arrays(data: object) -> dict[str, Any]:
    if isinstance(data, Mapping):
        named = cast("Mapping[str, ArrayLike]", data)
        return {name: np.asarray(array) for name, array in named.items()}
    kind = type(data).__name__
    if not isinstance(data, tuple) or len(pair := cast("tuple[object, ...]", data)) != _A_PAIR:
        message = (
            "data must be a path, arrays by their names, (x, y), or "
            f"(x_train, y_train), (x_test, y_test). Received: {kind}"
        )
        raise TypeError(message)
    if all(isinstance(part, tuple) for part in pair):
        return _named(pair[0], "x_train", "y_train") | _named(pair[1], "x_test", "y_test")
    return _named(pair, "x", "y")


def _named(arrays: object, *names: str) -> dict[str, Any]:
    pair = cast("tuple[ArrayLike, ...]", arrays)
    return {name: np.asarray(array) for name, array in zip(names, pair, strict=True)}
