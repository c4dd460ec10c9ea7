"""ONNX: written by ``tf2onnx``, run by ``onnxruntime``."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx
from onnx import numpy_helper

from worker.data import Array
from worker.formats.graph import Source
from worker.formats.opened import SIGNATURE, Port, WeightCount

#: Version of the operator set: what runtimes of the last years know.
_OPERATORS = 17


def write(source: Source, path: Path) -> tuple[str, ...]:
    """Write ``source`` as a file; there is nothing particular about it.

    Raises:
        Exception: of whatever kind the converter has for what it cannot express.
    """
    model: Any = tf.saved_model.load(str(source.graph()))
    serve = getattr(model, SIGNATURE)
    _, inputs = model.signatures[SIGNATURE].structured_input_signature
    tf2onnx.convert.from_function(
        serve,
        input_signature=[inputs[port.name] for port in source.inputs],
        opset=_OPERATORS,
        output_path=str(path),
    )
    return ()


class OnnxFile:
    """An ``.onnx`` file, opened by ONNX Runtime on the CPU.

    Args:
        path: Of the file.
        threads: That compute.

    Raises:
        Exception: of ONNX Runtime, for what is not well formed or cannot be run.
    """

    def __init__(self, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        # Named, because on its own it would bind threads to cores, which a confined process
        # may not.
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._path = path
        self._session: Any = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = tuple(map(_port, self._session.get_inputs()))
        self.outputs = tuple(map(_port, self._session.get_outputs()))

    def answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs by name."""
        names = [port.name for port in self.outputs]
        return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))

    def weights(self) -> WeightCount:
        """Return what is counted in the initialisers and constants of the file."""
        arrays = (numpy_helper.to_array(each) for each in _tensors(onnx.load(self._path).graph))
        counts = (
            WeightCount(array.size, int(np.count_nonzero(array)))
            for array in arrays
            if array.dtype.kind == "f"
        )
        return sum(counts, WeightCount(0, 0))


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield the constants of a graph and of those within it: bodies of loops, branches."""
    yield from graph.initializer
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        if attribute.HasField("t"):
            yield attribute.t
        if attribute.HasField("g"):
            yield from _tensors(attribute.g)


def _port(value: Any) -> Port:
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return Port(value.name, shape, _DTYPES[value.type])


_DTYPES = {
    "tensor(bool)": "bool",
    "tensor(double)": "float64",
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
}
