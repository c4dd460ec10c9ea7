"""What each kind of layer does to the channels of its input, and how it is made without some.

A channel is an entry of the last axis. ``follow`` goes through the layer as data do, and says of
each channel which it is (``label``: what passes a layer on its own keeps its label) and whether it
is zero, whatever the input of the model. ``cut`` makes the layer narrower.
"""

# What is inherited from Keras has no type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import activations, layers
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Labels = NDArray[np.intp]


@dataclass(frozen=True)
class Signal:
    """The channels of a tensor, in order."""

    labels: Labels
    zeros: Flags  #: Which are zero whatever goes in.


class Ledger:
    """Which channels are which, and which must stay."""

    def __init__(self) -> None:
        """Know of no channel yet."""
        self._same_as: list[int] = []
        self._held: set[int] = set()

    def new(self, count: int) -> Labels:
        """Return labels for so many channels that nobody has seen before."""
        first = len(self._same_as)
        self._same_as.extend(range(first, first + count))
        return np.arange(first, first + count)

    def tie(self, ones: Labels, others: Labels) -> None:
        """Note that the channels stay or go together, one by one."""
        for one, other in zip(ones.tolist(), others.tolist(), strict=True):
            first, second = self._first(one), self._first(other)
            self._same_as[first] = second
            if first in self._held:
                self._held.add(second)

    def hold(self, labels: Labels) -> None:
        """Note that the channels must stay."""
        self._held.update(self._first(label) for label in labels.tolist())

    def kept(self, labels: Labels) -> Flags:
        """Return which of the channels must stay, as far as is noted."""
        firsts = (self._first(label) in self._held for label in labels.tolist())
        return np.fromiter(firsts, np.bool_, labels.size)

    def _first(self, label: int) -> int:
        while (other := self._same_as[label]) != label:
            self._same_as[label] = label = self._same_as[other]
        return label


@dataclass(frozen=True)
class Cut:
    """A layer made narrower."""

    config: Mapping[str, Any]  #: What is different in its configuration.
    weights: Sequence[NDArray[Any]]  #: All that it has, in its order.


@dataclass(frozen=True)
class Rule:
    """What is to be known of one kind of layer.

    Args:
        follow: From what goes into a layer to what comes out; ``None`` for a layer that is not
            understood.
        cut: Given which channels of input and output stay.
        joins: Whether it goes on from all that goes in, and not from the first alone (the others
            are masks and states).
    """

    follow: Callable[[Any, Sequence[Signal], Ledger], Signal | None]
    cut: Callable[[Any, Flags, Flags], Cut]
    joins: bool = False


def rule_for(operation: Any) -> Rule | None:
    """Return the rule; ``None`` where nothing is known of how channels go through."""
    if not isinstance(operation, layers.Layer):
        return _OPERATIONS.get(type(operation).__name__)
    has_channels_last = getattr(operation, "data_format", None) in {None, "channels_last"}
    is_plain = getattr(operation, "quantization_mode", None) is None
    if isinstance(operation, layers.Bidirectional):
        is_plain = type(operation.forward_layer) in _RECURRENT
    return _RULES.get(type(operation)) if has_channels_last and is_plain else None


def is_along_channels(layer: Any) -> bool:
    """Whether a batch normalisation has an entry for each channel."""
    return layer.axis in {-1, layer.input_spec.ndim - 1}


def leaves_zero(layer: Any) -> bool:
    """Whether a layer of the table makes zeros of zeros, as far as its bias lets it."""
    zero = keras.ops.zeros((1, 1))
    if type(layer) in ONE_BY_ONE_LAYERS:
        return not _numpy(layer(zero)).any()
    activation = getattr(layer, "activation", activations.linear)
    return activation in _ONE_BY_ONE and not _numpy(activation(zero)).any()


# What has a kernel: every channel of the output is made of all those of the input.


def _follow_kernel(layer: Any, inputs: Sequence[Signal], ledger: Ledger) -> Signal | None:
    (given,) = inputs
    if getattr(layer, "groups", 1) != 1:
        return None
    return _made(given, _matrix(layer, layer.kernel), layer, ledger)


def _matrix(layer: Any, kernel: Any) -> NDArray[Any]:
    """Return a kernel as ``(..., inputs, outputs)``."""
    values = _numpy(kernel)
    return np.swapaxes(values, -1, -2) if type(layer) in _TRANSPOSED else values


def _made(given: Signal, kernel: NDArray[Any], layer: Any, ledger: Ledger) -> Signal:
    reads = _is_used(kernel)
    ledger.hold(given.labels[reads.any(axis=1) & ~given.zeros])
    made = ledger.new(reads.shape[1])
    if layer.activation not in _ONE_BY_ONE:
        # A softmax, say: none can be left out, whatever its own value is.
        ledger.hold(made)
        return Signal(made, np.zeros(made.size, np.bool_))
    gets_nothing = ~reads[~given.zeros].any(axis=0)
    return Signal(made, gets_nothing & _keeps_zero(layer, made.size))


def _is_used(kernel: NDArray[Any]) -> Flags:
    """Return which pairs of the last two axes have a weight that is not zero."""
    return np.asarray(kernel.any(axis=tuple(range(kernel.ndim - 2))))


def _keeps_zero(layer: Any, outputs: int) -> Flags:
    """Return which outputs are zero where their kernel, or what it reads, is."""
    bias = np.zeros(outputs, np.float32) if layer.bias is None else _numpy(layer.bias)
    return _numpy(layer.activation(keras.ops.convert_to_tensor(bias))) == 0


def _cut_kernel(size: str) -> Callable[[Any, Flags, Flags], Cut]:
    def cut(layer: Any, inputs: Flags, outputs: Flags) -> Cut:
        kernel = _matrix(layer, layer.kernel)[..., inputs, :][..., outputs]
        if type(layer) in _TRANSPOSED:
            kernel = np.swapaxes(kernel, -1, -2)
        return Cut({size: int(outputs.sum())}, [kernel, *_cut_bias(layer, outputs)])

    return cut


def _cut_bias(layer: Any, outputs: Flags) -> list[NDArray[Any]]:
    return [] if layer.bias is None else [_numpy(layer.bias)[outputs]]


def _follow_depthwise(layer: Any, inputs: Sequence[Signal], _ledger: Ledger) -> Signal | None:
    (given,) = inputs
    if layer.activation not in _ONE_BY_ONE:
        return None
    passes = _passing(_numpy(layer.kernel), given)
    outputs = passes.size
    return Signal(
        np.repeat(given.labels, layer.depth_multiplier), ~passes & _keeps_zero(layer, outputs)
    )


def _passing(kernel: NDArray[Any], given: Signal) -> Flags:
    """Return which outputs of a depthwise kernel something comes through."""
    return (_is_used(kernel) & ~given.zeros[:, None]).ravel()


def _cut_depthwise(layer: Any, inputs: Flags, outputs: Flags) -> Cut:
    kernel = _numpy(layer.kernel)[..., inputs, :]
    return Cut({}, [kernel, *_cut_bias(layer, outputs)])


def _follow_separable(layer: Any, inputs: Sequence[Signal], ledger: Ledger) -> Signal | None:
    (given,) = inputs
    passes = _passing(_numpy(layer.depthwise_kernel), given)
    between = Signal(np.repeat(given.labels, layer.depth_multiplier), ~passes)
    return _made(between, _numpy(layer.pointwise_kernel), layer, ledger)


def _cut_separable(layer: Any, inputs: Flags, outputs: Flags) -> Cut:
    between = np.repeat(inputs, layer.depth_multiplier)
    kernels = [
        _numpy(layer.depthwise_kernel)[..., inputs, :],
        _numpy(layer.pointwise_kernel)[..., between, :][..., outputs],
    ]
    return Cut({"filters": int(outputs.sum())}, [*kernels, *_cut_bias(layer, outputs)])


def _follow_table(layer: Any, _inputs: Sequence[Signal], ledger: Ledger) -> Signal:
    zeros = np.asarray(~_numpy(layer.embeddings).any(axis=0))
    return Signal(ledger.new(zeros.size), zeros)


def _cut_table(layer: Any, _inputs: Flags, outputs: Flags) -> Cut:
    table = _numpy(layer.embeddings)[:, outputs]
    return Cut({"output_dim": int(outputs.sum())}, [table])


def _follow_recurrent(layer: Any, inputs: Sequence[Signal], ledger: Ledger) -> Signal:
    """Go through a layer that leaves out no unit, but reads nothing that is zero."""
    (given,) = inputs
    for cell in _cells(layer):
        reads = _is_used(_numpy(cell.kernel)).any(axis=1)
        ledger.hold(given.labels[reads & ~given.zeros])
    made = ledger.new(layer.output.shape[-1])
    ledger.hold(made)
    return Signal(made, np.zeros(made.size, np.bool_))


def _cells(layer: Any) -> list[Any]:
    if isinstance(layer, layers.Bidirectional):
        return [layer.forward_layer.cell, layer.backward_layer.cell]
    return [layer.cell]


def _cut_recurrent(layer: Any, inputs: Flags, _outputs: Flags) -> Cut:
    kernels = {id(cell.kernel) for cell in _cells(layer)}
    return Cut(
        {},
        [_numpy(each)[inputs] if id(each) in kernels else _numpy(each) for each in layer.weights],
    )


# What lets each channel pass on its own.


def _follow_batch_normalization(
    layer: Any, inputs: Sequence[Signal], _ledger: Ledger
) -> Signal | None:
    (given,) = inputs
    if not is_along_channels(layer):
        return None
    nothing_added = _is_zero(layer.beta, given.zeros.size)
    takes_nothing = layer.scale & _is_zero(layer.gamma, given.zeros.size)
    is_centred = given.zeros & _is_zero(layer.moving_mean, given.zeros.size)
    return Signal(given.labels, nothing_added & (takes_nothing | is_centred))


def _is_zero(variable: Any, size: int) -> Flags:
    return np.ones(size, np.bool_) if variable is None else _numpy(variable) == 0


def _cut_batch_normalization(layer: Any, _inputs: Flags, outputs: Flags) -> Cut:
    return Cut({}, [_numpy(each)[outputs] for each in layer.weights])


def _follow_each(layer: Any, inputs: Sequence[Signal], _ledger: Ledger) -> Signal | None:
    """Go through what computes each number from itself, or each channel from its zeros or more."""
    (given,) = inputs
    activation = getattr(layer, "activation", None)
    if activation is not None and activation not in _ONE_BY_ONE:
        return None
    return Signal(given.labels, given.zeros & leaves_zero(layer))


def _follow_flatten(layer: Any, inputs: Sequence[Signal], _ledger: Ledger) -> Signal | None:
    (given,) = inputs
    times = math.prod(size or 0 for size in layer.input.shape[1:-1])
    is_known = times > 0 and layer.output.shape[1:] == (times * given.labels.size,)
    return Signal(np.tile(given.labels, times), np.tile(given.zeros, times)) if is_known else None


def _follow_reshape(layer: Any, inputs: Sequence[Signal], ledger: Ledger) -> Signal | None:
    (given,) = inputs
    if layer.output.shape[-1] == given.labels.size:
        return given
    return _follow_flatten(layer, inputs, ledger)


def _cut_reshape(layer: Any, _inputs: Flags, outputs: Flags) -> Cut:
    *before, _ = layer.target_shape
    return Cut({"target_shape": (*before, int(outputs.sum()))}, [])


def _cut_nothing(_layer: Any, _inputs: Flags, _outputs: Flags) -> Cut:
    return Cut({}, [])


# What joins several inputs.


def _follow_sum(_layer: Any, inputs: Sequence[Signal], ledger: Ledger) -> Signal | None:
    zeros = [each.zeros for each in inputs]
    return _tied(inputs, ledger, zeros, np.logical_and)


def _follow_product(_layer: Any, inputs: Sequence[Signal], ledger: Ledger) -> Signal | None:
    zeros = [each.zeros for each in inputs]
    return _tied(inputs, ledger, zeros, np.logical_or)


def _tied(
    inputs: Sequence[Signal], ledger: Ledger, zeros: Sequence[Flags], join: np.ufunc
) -> Signal | None:
    first, *others = inputs
    # An operator with one tensor has a constant beside it, of any shape.
    if not others or any(other.labels.size != first.labels.size for other in others):
        return None
    for other in others:
        ledger.tie(first.labels, other.labels)
    return Signal(first.labels, join.reduce(zeros, axis=0))


def _follow_concatenation(layer: Any, inputs: Sequence[Signal], _ledger: Ledger) -> Signal | None:
    if layer.axis not in {-1, len(layer.output.shape) - 1}:
        return None
    return Signal(
        np.concatenate([each.labels for each in inputs]),
        np.concatenate([each.zeros for each in inputs]),
    )


def _numpy(values: Any) -> NDArray[Any]:
    return keras.ops.convert_to_numpy(values)


#: Activations that compute each number from itself alone.
_ONE_BY_ONE = {
    activations.celu,
    activations.elu,
    activations.exponential,
    activations.gelu,
    activations.hard_sigmoid,
    activations.hard_silu,
    activations.hard_tanh,
    activations.leaky_relu,
    activations.linear,
    activations.log_sigmoid,
    activations.mish,
    activations.relu,
    activations.relu6,
    activations.selu,
    activations.sigmoid,
    activations.silu,
    activations.softplus,
    activations.softsign,
    activations.tanh,
}

#: Layers that do.
ONE_BY_ONE_LAYERS = {
    layers.Activation,
    layers.ELU,
    layers.LeakyReLU,
    layers.ReLU,
}

#: Layers that compute each channel from itself alone, and zeros from zeros.
BY_CHANNEL = {
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.AveragePooling3D,
    layers.Cropping1D,
    layers.Cropping2D,
    layers.Cropping3D,
    layers.Dropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.GlobalMaxPooling3D,
    layers.Identity,
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.MaxPooling3D,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.UpSampling1D,
    layers.UpSampling2D,
    layers.UpSampling3D,
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
    layers.ZeroPadding3D,
}

_TRANSPOSED = {layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose}

_WITH_FILTERS = {layers.Conv1D, layers.Conv2D, layers.Conv3D} | _TRANSPOSED
_SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
_RECURRENT = (layers.GRU, layers.LSTM, layers.SimpleRNN)
DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)

#: By layer, the name of the kernel that makes its output.
KERNELS = {
    **dict.fromkeys((*_WITH_FILTERS, layers.Dense), "kernel"),
    **dict.fromkeys(_SEPARABLE, "pointwise_kernel"),
}

_SUM = Rule(_follow_sum, _cut_nothing, joins=True)
_PRODUCT = Rule(_follow_product, _cut_nothing, joins=True)

#: What Keras calls the operators of tensors, whose classes have no public names.
_OPERATIONS = {"Add": _SUM, "Subtract": _SUM, "Multiply": _PRODUCT}

_RULES: dict[type, Rule] = {
    **dict.fromkeys(_WITH_FILTERS, Rule(_follow_kernel, _cut_kernel("filters"))),
    layers.Dense: Rule(_follow_kernel, _cut_kernel("units")),
    **dict.fromkeys(DEPTHWISE, Rule(_follow_depthwise, _cut_depthwise)),
    **dict.fromkeys(_SEPARABLE, Rule(_follow_separable, _cut_separable)),
    layers.Embedding: Rule(_follow_table, _cut_table),
    **dict.fromkeys((*_RECURRENT, layers.Bidirectional), Rule(_follow_recurrent, _cut_recurrent)),
    layers.BatchNormalization: Rule(_follow_batch_normalization, _cut_batch_normalization),
    **dict.fromkeys(ONE_BY_ONE_LAYERS | BY_CHANNEL, Rule(_follow_each, _cut_nothing)),
    layers.Flatten: Rule(_follow_flatten, _cut_nothing),
    layers.Reshape: Rule(_follow_reshape, _cut_reshape),
    **dict.fromkeys(
        (layers.Add, layers.Average, layers.Maximum, layers.Minimum, layers.Subtract), _SUM
    ),
    layers.Multiply: _PRODUCT,
    layers.Concatenate: Rule(_follow_concatenation, _cut_nothing, joins=True),
}
