"""Which weights of which built-in layer are pruned by default; names only, no Keras.

It is a table of names so that a file can be judged without loading it.
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
    "ConvLSTM1DCell": _RECURRENT,
    "ConvLSTM2DCell": _RECURRENT,
    "ConvLSTM3DCell": _RECURRENT,
    "ConvLSTMCell": _RECURRENT,
    "Dense": _KERNEL,
    "EinsumDense": _KERNEL,
    "Embedding": frozenset({"embeddings"}),
    "GRUCell": _RECURRENT,
    "LSTMCell": _RECURRENT,
    "SeparableConv1D": frozenset({"pointwise_kernel"}),
    "SeparableConv2D": frozenset({"pointwise_kernel"}),
    "SimpleRNNCell": _RECURRENT,
}

_DEPTHWISE = frozenset({"DepthwiseConv1D", "DepthwiseConv2D"})


def reason_to_skip(class_name: str, weight_name: str) -> str | None:
    """Why this weight is not pruned by default; ``None`` when it is.

    Args:
        class_name: Name of the layer's class, for example ``Dense``. Recurrent layers keep
            their weights in a cell: ``LSTMCell``, not ``LSTM``.
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
