"""What makes a training faster without changing it, where the backend is TensorFlow.

Keras has no words for it, so this file, and no other of the library, speaks TensorFlow's; on
other backends it leaves everything as it is. See docs/decisions/0009.
"""

# TensorFlow's types are incomplete, and what is inherited from Keras has none.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras

from pruning_core.mask import ALIGNMENT, Mask

#: What XLA must have to work on, in weights: compiling takes about 60 ms for each tensor, and a
#: step of the optimizer gains about 3 ms for each million weights.
_LEAST_WEIGHTS = 1_000_000
_LEAST_WEIGHTS_OF_A_TENSOR = 100_000

#: TensorFlow's kernel raises a lower one to this.
_LEAST_EPSILON = 1.001e-5


def compiled(
    function: Callable[..., None], variables: Sequence[keras.Variable]
) -> Callable[..., None]:
    """Return ``function`` compiled by XLA, where that pays; elsewhere ``function`` itself.

    A step of an optimizer, element by element a dozen operations, then reads and writes memory
    once, and not a dozen times. The results are the same but for rounding.

    Args:
        function: Takes lists of tensors, or nothing; changes variables, and nothing else.
        variables: What it works on. Few and large ones make it pay.
    """
    size = sum(math.prod(variable.shape) for variable in variables)
    pays = size >= max(_LEAST_WEIGHTS, _LEAST_WEIGHTS_OF_A_TENSOR * len(variables))
    if keras.backend.backend() != "tensorflow" or not pays:
        return function
    import tensorflow as tf  # noqa: PLC0415 - only where it is the backend

    by_xla = tf.function(function, jit_compile=True, autograph=False)

    def call(*tensors: Any) -> None:
        # Of gradients that are rows of a table each batch has another number: each would be
        # compiled anew.
        is_dense = all(isinstance(tensor, tf.Tensor) for tensor in keras.tree.flatten(tensors))
        can_compile = is_dense and not tf.distribute.has_strategy()
        (by_xla if can_compile else function)(*tensors)

    return call


def taken_over(mask: Mask) -> Any:
    """Return a mask as a tensor that shares its memory, if it can: nobody may write to it any more.

    A mask of 100 million weights is copied in the time of one read of the weights.
    """
    is_aligned = mask.flags.c_contiguous and mask.ctypes.data % ALIGNMENT == 0
    if keras.backend.backend() != "tensorflow" or not is_aligned:
        return mask
    import tensorflow as tf  # noqa: PLC0415 - only where it is the backend

    # NumPy's own types say that only numbers can be handed over.
    return tf.experimental.dlpack.from_dlpack(
        mask.__dlpack__()  # pyright: ignore[reportAttributeAccessIssue]
    )


def zero_except(keep: Any, values: Any) -> Any:
    """Return ``values`` where ``keep`` is true, and 0 elsewhere; tensors of one shape.

    It is no product: 0 * -1 is -0.0, and 0 * inf is NaN.
    """
    if keras.backend.backend() != "tensorflow":
        return keras.ops.where(keep, values, keras.ops.zeros_like(values))
    import tensorflow as tf  # noqa: PLC0415 - only where it is the backend

    # The `where` of today broadcasts, and takes four times as long for a small tensor.
    return tf.compat.v1.where(keep, values, tf.zeros_like(values))


def fuse_batch_normalization(model: keras.Model) -> None:
    """Let TensorFlow's own kernel normalise the batches that ``model`` is trained on.

    Keras puts batch normalisation together from some twenty operations, forward and backward, each
    of which goes through memory: 40 % of a training step of MobileNetV1 on a CPU. Outputs,
    gradients and moving statistics are the same but for rounding. It holds for feature maps
    with their channels last; everything else, and what is not training, stays with Keras.
    Nothing of it is saved with the model.
    """
    if keras.backend.backend() != "tensorflow":
        return
    for layer in model._flatten_layers():  # noqa: SLF001 - `layers` leaves out nested ones
        if type(layer) is keras.layers.BatchNormalization and _has_a_kernel(layer):
            layer.call = partial(_normalised, layer)


def _has_a_kernel(layer: keras.layers.BatchNormalization) -> bool:
    return (
        layer.input_spec.ndim == _FEATURE_MAP_RANK
        and layer.axis in {-1, _FEATURE_MAP_RANK - 1}
        and layer.epsilon >= _LEAST_EPSILON
        and layer.variable_dtype == "float32"
        and not layer.synchronized
        and not layer.renorm
    )


_FEATURE_MAP_RANK = 4  #: Batch, height, width, channels.


def _normalised(
    layer: keras.layers.BatchNormalization,
    inputs: Any,
    training: bool | None = None,  # noqa: FBT001 - as Keras calls it
    mask: Any = None,
) -> Any:
    if not training or not layer.trainable or mask is not None or inputs.dtype == "float64":
        return type(layer).call(layer, inputs, training=training, mask=mask)
    import tensorflow as tf  # noqa: PLC0415 - only where it is the backend

    # The rest as in Keras: float32 inside, and statistics of the batch as it is.
    inputs = tf.cast(inputs, "float32")
    channels = inputs.shape[-1]
    outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        inputs,
        scale=tf.convert_to_tensor(layer.gamma) if layer.scale else tf.ones(channels),
        offset=tf.convert_to_tensor(layer.beta) if layer.center else tf.zeros(channels),
        epsilon=layer.epsilon,
        is_training=True,
    )
    count = tf.cast(tf.size(inputs) / channels, "float32")
    variance *= (count - 1) / count  # the kernel's is the sample variance
    for moving, of_batch in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(moving * layer.momentum + of_batch * (1.0 - layer.momentum))
    return tf.cast(outputs, layer.compute_dtype)
