"""LiteRT, formerly TensorFlow Lite: ``.tflite`` files, run by ``ai-edge-litert``.

Written by TensorFlow's converter from the graph of the model; its built-in operators alone, so
that a file never needs the Flex delegate. A recurrent model takes one sample at a time: with a
free batch its loops could not be written without Flex.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import functools
import gc
import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import flatbuffers
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from worker.data import Array
from worker.formats.graph import Source
from worker.formats.opened import SIGNATURE, Port, WeightCount
from worker.weighing import Stretch

Encoding = Literal["float32", "float16", "sparse"]

_ONE_SAMPLE = "It takes one sample at a time: LiteRT has no recurrent layers with a free batch."
_NO_SAMPLES = "Its weights have eight bits; without data it computes in float32."
_NO_INTEGERS = (
    "Its weights have eight bits and it computes in float32: LiteRT has no recurrent layers of "
    "whole numbers alone."
)


def write(source: Source, path: Path, *, encoding: Encoding) -> tuple[str, ...]:
    """Write ``source`` as a file, and return what is particular about it.

    Args:
        source: The model.
        path: Where to.
        encoding: ``sparse`` stores and computes the non-zeros of float32 weights, where LiteRT has
            kernels for it.

    Raises:
        Exception: of whatever kind the converter has for what it cannot express.
    """
    converter = _converter(source)
    match encoding:
        case "float32":
            pass
        case "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        case "sparse":
            converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    path.write_bytes(converter.convert())
    return _on_batches(source)


def write_int8(source: Source, path: Path) -> tuple[str, ...]:
    """Write ``source`` with weights of eight bits, and return what is particular about the file.

    Where there are samples, it computes with whole numbers too, wherever LiteRT can; its inputs and
    outputs stay what they were.

    Raises:
        Exception: of whatever kind the converter has for what it cannot express.
    """
    converter = _converter(source)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    # One scale a matrix, as in LiteRT's own recurrent layers, where all else has one an output: it
    # is no less exact, because state and inputs are rounded as well.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = (  # noqa: SLF001
        source.has_recurrence
    )
    remarks = _on_batches(source)
    if source.samples is None:
        remarks = (*remarks, _NO_SAMPLES)
    elif source.has_recurrence:
        remarks = (*remarks, _NO_INTEGERS)
    else:
        converter.representative_dataset = functools.partial(_one_by_one, source, source.samples)
    with warnings.catch_warnings():
        # The converter runs the samples through the interpreter of which it warns others.
        warnings.filterwarnings("ignore", ".*tf.lite.Interpreter is deprecated", UserWarning)
        path.write_bytes(converter.convert())
    # Of a large model it holds several copies.
    del converter
    gc.collect()
    _pare(path)
    return remarks


def int8_stretches(path: Path) -> tuple[Stretch, ...]:
    """Return where in a file of ``write_int8`` the numbers of one byte are, and where floats.

    Floats are biases, and scales, of which each output of a convolution has one.
    """
    content = np.memmap(path, np.uint8, "r")
    ends = [
        stored.ctypes.data + stored.nbytes - content.ctypes.data
        for tensor, stored in _constants(content)
        if tensor.Type() == schema.TensorType.INT8
    ]
    # Floats begin at multiples of four bytes.
    end = min(-(-max(ends, default=0) // 4) * 4, content.size)
    return Stretch(end, 1), Stretch(None, 4)


def _pare(path: Path) -> None:
    """Leave out of a file of eight bits what takes room when packed, and matters to nobody.

    The names of tensors that only LiteRT sees are those of layers, and become numbers. The scales
    of weights keep eleven significant bits, as float16 has: with a weight that moves by at most
    1 / 4,096 of itself, which is a thirty-second of a step of eight bits.
    """
    content = np.memmap(path, np.uint8, "r")
    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    main, *inner = model.subgraphs
    ports = {*main.inputs.tolist(), *main.outputs.tolist()}
    hidden = [tensor for at, tensor in enumerate(main.tensors) if at not in ports]
    for tensors in (hidden, *(graph.tensors for graph in inner)):
        for number, tensor in enumerate(tensors):
            tensor.name = str(number)
            if _has_values(model, tensor) and _has_scales(tensor):
                tensor.quantization.scale = _rounded(tensor.quantization.scale)
    builder = flatbuffers.Builder(content.size)
    builder.Finish(model.Pack(builder), file_identifier=content[4:8].tobytes())
    # Another file: the first is still mapped.
    pared = path.with_name(f"{path.name}-pared")
    pared.write_bytes(builder.Output())
    pared.replace(path)


def _has_values(model: Any, tensor: Any) -> bool:
    values = model.buffers[tensor.buffer].data
    return values is not None and len(values) > 0


def _has_scales(tensor: Any) -> bool:
    return tensor.quantization is not None and tensor.quantization.scale is not None


def _rounded(scales: Array) -> Array:
    """Return float32 with eleven significant bits; subnormal ones with fewer."""
    bits = np.asarray(scales, np.float32).view(np.uint32)
    dropped = 24 - 11
    return ((bits + (1 << (dropped - 1))) >> dropped << dropped).view(np.float32)


def _converter(source: Source) -> Any:
    graph = source.graph(batch=_batch_of(source))
    converter = tf.lite.TFLiteConverter.from_saved_model(str(graph), signature_keys=[SIGNATURE])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter


def _batch_of(source: Source) -> int | None:
    return 1 if source.has_recurrence else None


def _on_batches(source: Source) -> tuple[str, ...]:
    return () if _batch_of(source) is None else (_ONE_SAMPLE,)


def _one_by_one(source: Source, samples: tuple[Array, ...]) -> Iterator[dict[str, Array]]:
    names = [port.name for port in source.inputs]
    for at in range(len(samples[0])):
        yield {name: array[at : at + 1] for name, array in zip(names, samples, strict=True)}


class LiteRtFile:
    """A ``.tflite`` file, opened under LiteRT's default delegate.

    Args:
        path: Of the file.
        threads: That compute.

    Raises:
        ValueError: it is not well formed.
        RuntimeError: the runtime cannot prepare it.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self._path = path
        self._interpreter: Any = Interpreter(model_path=str(path), num_threads=threads)
        self._run: Any = self._interpreter.get_signature_runner(SIGNATURE)
        self.inputs = _ports(self._run.get_input_details())
        self.outputs = _ports(self._run.get_output_details())

    def answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs by name, sample by sample where the file takes no more."""
        if all(port.shape[0] is None for port in self.inputs):
            return self._copied(self._run(**inputs))
        count = len(next(iter(inputs.values())))
        answers = [
            self._copied(self._run(**{name: array[at : at + 1] for name, array in inputs.items()}))
            for at in range(count)
        ]
        return {
            port.name: np.concatenate([each[port.name] for each in answers])
            for port in self.outputs
        }

    def weights(self) -> WeightCount:
        """Return what is counted in the buffers of the file."""
        return _weights(self._path)

    @staticmethod
    def _copied(outputs: Mapping[str, Array]) -> dict[str, Array]:
        return {name: np.array(array) for name, array in outputs.items()}


def _ports(details: Mapping[str, Mapping[str, Any]]) -> tuple[Port, ...]:
    return tuple(
        Port(
            name,
            tuple(None if size < 0 else int(size) for size in tensor["shape_signature"]),
            np.dtype(tensor["dtype"]).name,
        )
        for name, tensor in details.items()
    )


#: How the weights of each type lie in a buffer.
_DTYPES = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.INT8: np.int8,
}


def _weights(path: Path) -> WeightCount:
    buffers: dict[int, WeightCount] = {}
    for tensor, content in _constants(np.fromfile(path, np.uint8)):
        dtype = _DTYPES.get(tensor.Type())
        if dtype is not None:
            # Of sparse tensors, the zeros are not stored.
            buffers[tensor.Buffer()] = WeightCount(
                math.prod(tensor.ShapeAsNumpy().tolist()),
                int(np.count_nonzero(content.view(dtype))),
            )
    return sum(buffers.values(), WeightCount(0, 0))


def _constants(content: Array) -> Iterator[tuple[Any, Array]]:
    """Yield the tensors whose values a file has, and these as bytes of its content."""
    model: Any = schema.Model.GetRootAs(content, 0)
    for graph in (model.Subgraphs(at) for at in range(model.SubgraphsLength())):
        for tensor in (graph.Tensors(at) for at in range(graph.TensorsLength())):
            buffer = model.Buffers(tensor.Buffer())
            if buffer.DataLength():
                yield tensor, buffer.DataAsNumpy()
