"""About how large the files of a job will be, from the shapes and sparsities of its weights.

What is packed takes, of a tensor of ``n`` weights at density ``d = 1 - s``, about
``n * (e * H(d) + d * c)`` bits: a multiple of the entropy ``H(d) = -d*log2(d) - s*log2(s)`` to say
where the non-zeros are, and ``c`` bits for each of them. Both were fitted to normal and to trained
weights.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from app.jobs.formats import ArtifactFormat
from app.jobs.outlook import Outlook, Outlooks
from app.jobs.uploads import ModelSummary
from pruning_core.catalogue import reason_to_skip
from pruning_core.config import Block, Channel, Granularity, NOfM, Unstructured
from pruning_core.decision import Prune

#: Graphs, names and signatures of a small model, and more for each of its layers.
_GRAPH_BYTES, _LAYER_BYTES = 3000, 200
#: LiteRT leaves smaller tensors as they are.
_FEWEST_INT8 = 1024
#: A scale and a zero point, for each output of a kernel.
_QUANTIZATION_BYTES = 12
#: LiteRT skips the zeros of a tensor that has more of them than this share, unless it is looked up.
_LEAST_SPARSE = 0.3
_MATRIX = 2
_DEPTHWISE = frozenset({"DepthwiseConv1D", "DepthwiseConv2D"})
#: An index has one byte up to so many inputs.
_BYTE_INDEX = 256


def predict_bytes(form: ArtifactFormat, model: ModelSummary, ahead: Outlooks) -> int:
    """About how large the file of a format will be.

    Against what ``python -m bench.size`` makes, a prediction is wrong by less than 10 %.
    """
    match form:
        case "keras":
            return predict_keras_bytes(model, ahead)
        case "keras_compact":
            bits = sum(
                each.size * 28.2 / 32 * _bits_of(each.weight.dtype) for each in _compacted(ahead)
            )
            return round(bits / 8) + 1000 + 250 * len(model.layers)
        case "saved_model":
            return _saved_model_bytes(model, _compacted(ahead))
        case "weights" | "weights_int8":
            bits = sum(_weights_bits(t, to_int8=form == "weights_int8") for t in ahead.tensors)
            return 200 + 30 * len(ahead.tensors) + round(bits / 8)
        case "litert" | "litert_fp16" | "litert_int8" | "litert_sparse" | "onnx":
            weights = sum(_IN_GRAPH[form](tensor) for tensor in _compacted(ahead))
            return _GRAPH_BYTES + _LAYER_BYTES * len(model.layers) + round(weights)


def _compacted(ahead: Outlooks) -> tuple[Outlook, ...]:
    """Return the tensors as they are once filters of zeros have been taken out.

    What reads the filters of a kernel is taken to be what follows in the model, as far as it is as
    wide: so it is where layers are in a row.
    """
    tensors: list[Outlook] = []
    width, left = 0, 1.0
    for tensor in ahead.tensors:
        *inputs, outputs = tensor.weight.shape or (1,)
        is_kernel = _is_kernel(tensor) and bool(inputs)
        read = inputs[-1] if is_kernel else outputs
        share = left if width and read % width == 0 else 1.0
        decision = tensor.decision
        if isinstance(decision, Prune) and isinstance(decision.granularity, Channel):
            width, left = outputs, 1 - tensor.expected_sparsity
            tensors.append(_cut(tensor, share, left))
            continue
        if is_kernel and tensor.weight.class_name not in _DEPTHWISE:
            width = 0
        tensors.append(_cut(tensor, share, 1.0))
    return tuple(tensors)


def _cut(tensor: Outlook, inputs: float, outputs: float) -> Outlook:
    """Return a tensor of which so many channels are left, none of them zero by its filter."""
    shape = tensor.weight.shape
    if outputs < 1:
        tensor = dataclasses.replace(tensor, expected_sparsity=0.0)
        shape = (*shape[:-1], round(shape[-1] * outputs))
    if inputs < 1:
        place = max(len(shape) - 2, 0)
        shape = (*shape[:place], round(shape[place] * inputs), *shape[place + 1 :])
    return dataclasses.replace(tensor, weight=tensor.weight.model_copy(update={"shape": shape}))


def _folded(tensor: Outlook) -> float:
    """Return how many numbers are left of a tensor in a graph for inference.

    The four of batch normalisation become one, which is added.
    """
    is_normalisation = tensor.weight.class_name == "BatchNormalization"
    return tensor.size / 4 if is_normalisation else tensor.size


def _is_kernel(tensor: Outlook) -> bool:
    weight = tensor.weight
    return reason_to_skip(weight.class_name, weight.weight, with_depthwise=True) is None


def _outputs(tensor: Outlook) -> int:
    """Return about how many outputs a kernel has."""
    return tensor.weight.shape[-1] if tensor.weight.shape else 1


def _int8_bytes(tensor: Outlook) -> float:
    if _is_kernel(tensor) and tensor.size >= _FEWEST_INT8:
        return tensor.size + _QUANTIZATION_BYTES * _outputs(tensor)
    return 4 * _folded(tensor)


def _sparse_bytes(tensor: Outlook) -> float:
    sparsity, shape = tensor.expected_sparsity, tensor.weight.shape
    is_looked_up = tensor.weight.weight == "embeddings"
    if not isinstance(tensor.decision, Prune) or is_looked_up or sparsity < _LEAST_SPARSE:
        return 4 * _folded(tensor)
    inputs = tensor.size // max(_outputs(tensor), 1) if len(shape) == _MATRIX else shape[-2]
    index_bytes = 1 if inputs <= _BYTE_INDEX else 2
    return tensor.size * (1 - sparsity) * (4 + index_bytes)


#: Bytes of a tensor in a graph for inference.
_IN_GRAPH: dict[ArtifactFormat, Callable[[Outlook], float]] = {
    "litert": lambda tensor: 4 * _folded(tensor),
    "litert_fp16": lambda tensor: 2 * _folded(tensor),
    "litert_int8": _int8_bytes,
    "litert_sparse": _sparse_bytes,
    "onnx": lambda tensor: 4 * _folded(tensor),
}


def _saved_model_bytes(model: ModelSummary, tensors: Sequence[Outlook]) -> int:
    """Return the size of a deflated archive: 29.5 bits a weight that is left, ``e`` 2.35."""
    bits = sum(
        tensor.size
        * (
            2.35 * _entropy(tensor.expected_sparsity)
            + (1 - tensor.expected_sparsity) * 29.5 * _bits_of(tensor.weight.dtype) / 32
        )
        for tensor in tensors
    )
    return 20_000 + 1_000 * len(model.layers) + round(bits / 8)


def _weights_bits(tensor: Outlook, *, to_int8: bool) -> float:
    density = 1 - tensor.expected_sparsity
    if to_int8 and _is_kernel(tensor):
        return _mask_bits(tensor) + 7 * density * tensor.size + 10 * _outputs(tensor)
    kept = (24 + 2.4 * density) * _bits_of(tensor.weight.dtype) / 32
    return _mask_bits(tensor) + kept * density * tensor.size


def _mask_bits(tensor: Outlook) -> float:
    if not isinstance(tensor.decision, Prune):
        return 0
    entropy = tensor.size * _entropy(tensor.expected_sparsity)
    match tensor.decision.granularity:
        case Unstructured():
            return entropy
        case Block(block_size=(rows, columns)):
            return entropy / (rows * columns)
        case NOfM(zeros=zeros, group=group):
            return tensor.size / group * math.log2(math.comb(group, zeros))
        case Channel():
            return _outputs(tensor)


def predict_keras_bytes(model: ModelSummary, ahead: Outlooks) -> int:
    """About how large ``model.keras`` will be.

    A tensor of ``n`` weights at density ``d = 1 - s`` takes ``n * (e * H(d) + d * c)`` bits: a
    multiple of the entropy ``H(d) = -d*log2(d) - s*log2(s)`` to say where the non-zeros are, and
    for each of them a share ``c`` of its bits. Both are what LZMA makes of normally distributed
    float32:

    ==================  ==================  =========
    granularity         ``e``               ``c``
    ==================  ==================  =========
    unstructured        1                   26.9 / 32
    n_of_m              1                   27.6 / 32
    block, of columns   1.3 / sqrt(columns) 28 / 32
    channel             1.3                 28.2 / 32
    ==================  ==================  =========

    The large weights that pruning one by one leaves are more alike than those of whole blocks.
    Patterns, blocks and filters tell LZMA little: they lie across the rows that it reads. The
    configuration and HDF5's own structures add 1,000 bytes and 250 for each layer.

    Against random weights (a perceptron and a CNN; 0, 50, 80 and 90 %; in units of every kind, 50
    to 90 %) and trained ones (the 12 MB CNN, an LSTM) it is wrong by at most 8 %.
    """
    bits = sum(_tensor_bits(tensor) for tensor in ahead.tensors)
    return round(bits / 8) + 1000 + 250 * len(model.layers)


def _tensor_bits(tensor: Outlook) -> float:
    sparsity = tensor.expected_sparsity
    density = 1.0 - sparsity
    granularity = (
        tensor.decision.granularity if isinstance(tensor.decision, Prune) else Unstructured()
    )
    places, kept_share = _packing(granularity)
    return tensor.size * (
        places * _entropy(sparsity) + density * kept_share * _bits_of(tensor.weight.dtype)
    )


def _packing(granularity: Granularity) -> tuple[float, float]:
    """Return ``e`` and ``c`` of the table."""
    match granularity:
        case Unstructured():
            return 1.0, 26.9 / 32
        case NOfM():
            return 1.0, 27.6 / 32
        case Block(block_size=(_, columns)):
            return 1.3 / math.sqrt(columns), 28 / 32
        case Channel():
            return 1.3, 28.2 / 32


def _entropy(sparsity: float) -> float:
    return -sum(share * math.log2(share) for share in (sparsity, 1 - sparsity) if share > 0)


def _bits_of(dtype: str) -> int:
    digits = dtype.lstrip("abcdefghijklmnopqrstuvwxyz")
    return int(digits) if digits else 8
