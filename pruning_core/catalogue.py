"""What is known of the built-in layers' weights: which are pruned by default, and how they lie.

It is a table of names, without Keras, so that a file can be judged without loading it.

Names of layers, here and in ``selection``: a layer's path is the names from the model's child
down, joined by ``/``, the model's own name left out. Everything is in the file's config, but for
these, which Keras makes up as it builds:

=====================  ====================================================================
a layer of             has these paths
=====================  ====================================================================
LSTM, GRU, SimpleRNN,  ``lstm``: the layer and its only cell are one, by the layer's class
ConvLSTM1D to 3D
RNN                    ``rnn/lstm_cell``, ``rnn/stacked_rnn_cells/lstm_cell``: cells by theirs
Bidirectional          ``bidirectional/forward_lstm``, ``bidirectional/backward_lstm``; what
                       was wrapped is called ``lstm`` or ``forward_lstm`` in the config
TimeDistributed and    ``time_distributed/dense``
other wrappers
MultiHeadAttention,    ``attention/query``, ``key``, ``value``, ``attention_output``, each an
GroupedQueryAttention  ``EinsumDense``
=====================  ====================================================================
"""

from __future__ import annotations

from dataclasses import dataclass

_KERNEL = frozenset({"kernel"})
_RECURRENT = frozenset({"kernel", "recurrent_kernel"})

_PRUNABLE: dict[str, frozenset[str]] = {
    "Conv1D": _KERNEL,
    "Conv1DTranspose": _KERNEL,
    "Conv2D": _KERNEL,
    "Conv2DTranspose": _KERNEL,
    "Conv3D": _KERNEL,
    "Conv3DTranspose": _KERNEL,
    "ConvLSTM1D": _RECURRENT,
    "ConvLSTM2D": _RECURRENT,
    "ConvLSTM3D": _RECURRENT,
    "Dense": _KERNEL,
    "EinsumDense": _KERNEL,
    "Embedding": frozenset({"embeddings"}),
    "GRU": _RECURRENT,
    "GRUCell": _RECURRENT,
    "LSTM": _RECURRENT,
    "LSTMCell": _RECURRENT,
    "ReversibleEmbedding": frozenset({"embeddings", "reverse_embeddings"}),
    "SeparableConv1D": frozenset({"pointwise_kernel"}),
    "SeparableConv2D": frozenset({"pointwise_kernel"}),
    "SimpleRNN": _RECURRENT,
    "SimpleRNNCell": _RECURRENT,
}

_DEPTHWISE = frozenset({"DepthwiseConv1D", "DepthwiseConv2D"})

_TRANSPOSED = frozenset({"Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"})

#: Tables that are looked up in: a row is no input channel.
_LOOKED_UP = frozenset({("Embedding", "embeddings"), ("ReversibleEmbedding", "embeddings")})

#: Layers that keep their weights in one cell, reported as if they were the layer's own.
ONE_CELL = frozenset({"ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "GRU", "LSTM", "SimpleRNN"})


def is_known(class_name: str) -> bool:
    """Whether the table says which weights of this class are pruned."""
    return class_name in _PRUNABLE or class_name in _DEPTHWISE


def can_go_with_filters(class_name: str, weight_name: str) -> bool:
    """Whether it is a vector that says what is added behind filters; see ``companions``.

    >>> can_go_with_filters("Conv2D", "bias"), can_go_with_filters("LSTM", "bias")
    (True, False)
    """
    if class_name == "BatchNormalization":
        return weight_name in {"gamma", "beta"}
    has_filters = class_name == "Dense" or ("Conv" in class_name and "LSTM" not in class_name)
    return has_filters and weight_name == "bias"


def reason_to_skip(
    class_name: str, weight_name: str, *, with_depthwise: bool = False
) -> str | None:
    """Why this weight is not pruned; ``None`` when it is.

    Args:
        class_name: Name of the layer's class, for example ``Dense``.
        weight_name: Name of the weight in its layer, for example ``kernel``.
        with_depthwise: Depthwise kernels are pruned as well, which they are not by default.

    >>> reason_to_skip("Dense", "kernel") is None
    True
    >>> reason_to_skip("Dense", "bias")
    'biases are few and carry much: not pruned'
    """
    if weight_name in _PRUNABLE.get(class_name, frozenset()):
        return None
    if weight_name == "bias" or weight_name.endswith("_bias"):
        return "biases are few and carry much: not pruned"
    if _is_depthwise(class_name, weight_name):
        usual = "depthwise kernels are small and sensitive: not pruned by default"
        return None if with_depthwise else usual
    if class_name in _PRUNABLE or class_name in _DEPTHWISE:
        return f"{weight_name} is not a kernel: not pruned"
    if "Normalization" in class_name:
        return "normalisation weights are not pruned"
    return f"no rule says which weights of {class_name} can be pruned"


@dataclass(frozen=True)
class Layout:
    """Which axes of a weight tensor are its outputs, and which its inputs; both in order."""

    inputs: tuple[int, ...]  #: Empty where each output has one weight, or rank is below 2.
    outputs: tuple[int, ...]
    channels: int | None  #: The axis of the input channels, the last of ``inputs``, if any.


def layout(class_name: str, weight_name: str, *, rank: int, equation: str | None = None) -> Layout:
    """Return how a weight tensor lies.

    =====================================  ==================================================
    kernel                                 axes
    =====================================  ==================================================
    Dense, recurrent                       ``(inputs, outputs)``
    Conv                                   ``(..., input channels, outputs)``
    ConvTranspose                          ``(..., outputs, input channels)``
    depthwise                              ``(..., output channels, multiplier)``: two axes of
                                           outputs, and no input channels
    EinsumDense                            by its equation: what is summed over is an input
    Embedding                              ``(tokens, outputs)``, without input channels
    any other, of rank 2 or more           as that of a Conv
    =====================================  ==================================================

    Args:
        class_name: Name of the layer's class.
        weight_name: Name of the weight in its layer.
        rank: Number of axes.
        equation: Of an ``EinsumDense``.

    >>> layout("Conv2DTranspose", "kernel", rank=4)
    Layout(inputs=(0, 1, 3), outputs=(2,), channels=3)
    >>> layout("EinsumDense", "kernel", rank=3, equation="abc,cde->abde")
    Layout(inputs=(0,), outputs=(1, 2), channels=0)
    """
    if rank < _MATRIX:
        return Layout((), tuple(range(rank)), None)
    if class_name == "EinsumDense" and equation is not None:
        return _contracted(equation)
    if _is_depthwise(class_name, weight_name):
        return Layout(tuple(range(rank - 2)), (rank - 2, rank - 1), None)
    output = rank - 2 if class_name in _TRANSPOSED else rank - 1
    inputs = tuple(axis for axis in range(rank) if axis != output)
    is_table = (class_name, weight_name) in _LOOKED_UP
    return Layout(inputs, (output,), None if is_table else inputs[-1])


_MATRIX = 2


def _is_depthwise(class_name: str, weight_name: str) -> bool:
    return weight_name == "depthwise_kernel" or (
        class_name in _DEPTHWISE and weight_name == "kernel"
    )


def _contracted(equation: str) -> Layout:
    """Return the layout of ``kernel`` in ``inputs,kernel->outputs``."""
    operands, _, result = equation.replace(" ", "").partition("->")
    kernel = operands.partition(",")[2]
    inputs = tuple(axis for axis, letter in enumerate(kernel) if letter not in result)
    outputs = tuple(axis for axis, letter in enumerate(kernel) if letter in result)
    return Layout(inputs, outputs, inputs[-1] if inputs else None)
