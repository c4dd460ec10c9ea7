"""SavedModel, as TensorFlow itself and TensorFlow Serving load it: a folder, here in a ``.zip``."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tensorflow as tf

from worker.data import Array
from worker.formats.graph import Source
from worker.formats.opened import SIGNATURE, Port, WeightCount

#: Time stamp of every member: the first that zip can hold.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write(source: Source, path: Path) -> tuple[str, ...]:
    """Write ``source`` as a ``.zip`` that any program unpacks."""
    graph = source.graph()
    with zipfile.ZipFile(path, "w") as archive:
        for member in sorted(each for each in graph.rglob("*") if each.is_file()):
            info = zipfile.ZipInfo(member.relative_to(graph).as_posix(), date_time=_EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.file_size = member.stat().st_size  # zipfile decides by it whether to use zip64
            with member.open("rb") as content, archive.open(info, "w") as entry:
                shutil.copyfileobj(content, entry)
    return ()


class SavedModelFile:
    """A SavedModel in a ``.zip``, opened by TensorFlow.

    Raises:
        OSError, ValueError, zipfile.BadZipFile: it is not well formed.
    """

    def __init__(self, path: Path) -> None:
        with TemporaryDirectory() as folder:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)
            self._model: Any = tf.saved_model.load(folder)
        self._serve: Any = self._model.signatures[SIGNATURE]
        _, inputs = self._serve.structured_input_signature
        self.inputs = tuple(_port(name, spec) for name, spec in inputs.items())
        self.outputs = tuple(
            _port(name, spec) for name, spec in self._serve.structured_outputs.items()
        )

    def answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs by name."""
        outputs = self._serve(**{name: tf.constant(array) for name, array in inputs.items()})
        return {name: np.asarray(tensor) for name, tensor in outputs.items()}

    def weights(self) -> WeightCount:
        """Return what is counted in its variables of floats."""
        arrays = [np.asarray(each) for each in self._serve.variables if each.dtype.is_floating]
        return WeightCount(
            sum(array.size for array in arrays),
            sum(int(np.count_nonzero(array)) for array in arrays),
        )


def _port(name: str, spec: Any) -> Port:
    return Port(name, tuple(spec.shape), spec.dtype.name)
