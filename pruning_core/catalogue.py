"""Which weights of which built-in layer are pruned by default; names only, no Keras.

It is a table of names so that a file can be judged without loading it.

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

#: Layers that keep their weights in one cell, reported as if they were the layer's own.
ONE_CELL = frozenset({"ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "GRU", "LSTM", "SimpleRNN"})


def is_known(class_name: str) -> bool:
    """Whether the table says which weights of this class are pruned."""
    return class_name in _PRUNABLE or class_name in _DEPTHWISE


def reason_to_skip(class_name: str, weight_name: str) -> str | None:
    """Why this weight is not pruned by default; ``None`` when it is.

    Args:
        class_name: Name of the layer's class, for example ``Dense``.
        weight_name: Name of the weight in its layer, for example ``kernel``.

    >>> reason_to_skip("Dense", "kernel") is None
    True
    >>> reason_to_skip("Dense", "bias")
    'biases are few and carry much: not pruned'
    """
    if weight_name in _PRUNABLE.get(class_name, frozenset()):
        return None
    if weight_name == "bias" or weight_name.endswith("_bias"):
        return "biases are few and carry much: not pruned"
    if class_name in _DEPTHWISE or weight_name == "depthwise_kernel":
        return "depthwise kernels are small and sensitive: not pruned by default"
    if class_name in _PRUNABLE:
        return f"{weight_name} is not a kernel: not pruned"
    if "Normalization" in class_name:
        return "normalisation weights are not pruned"
    return f"no rule says which weights of {class_name} can be pruned"
