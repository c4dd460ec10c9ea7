"""What the outputs of a model are: probabilities, logits or quantities."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import keras
from keras import ops

from pruning_core.network import operation_of


class Kind(Enum):
    """What the numbers of an output say."""

    CLASSES = auto()  #: Which of several classes it is, in the last axis.
    FLAGS = auto()  #: Of each number, whether it is so.
    QUANTITIES = auto()  #: How much; anything else.


@dataclass(frozen=True)
class Output:
    """One output of a model."""

    kind: Kind
    are_logits: bool = False  #: Classes and flags before their softmax or sigmoid.

    def probabilities(self, values: Any, temperature: float) -> Any:
        """Return the probabilities that ``values`` stand for, softened.

        Args:
            values: Of classes or flags.
            temperature: Logits are divided by it.

        Returns:
            Classes: of the shape of ``values``. Flags: of one axis more, of size 2. The last axis
            adds up to 1.
        """
        logits = self._logits(values) / temperature
        if self.kind is Kind.CLASSES:
            return ops.softmax(logits)
        return ops.stack([ops.sigmoid(logits), ops.sigmoid(-logits)], axis=-1)

    def _logits(self, values: Any) -> Any:
        if self.are_logits:
            return values
        epsilon = keras.config.epsilon()
        likely = ops.clip(values, epsilon, 1 - epsilon)
        return ops.log(likely) - (ops.log(1 - likely) if self.kind is Kind.FLAGS else 0.0)


def outputs_of(model: keras.Model, count: int) -> list[Output]:
    """Return what each output of ``model`` is, by its last activation, failing that by its loss.

    An output that ends with neither softmax nor sigmoid is logits where its compiled loss says
    so, and a quantity where nothing does.

    Args:
        model: Compiled or not. A subclass has no activations that can be seen.
        count: How many outputs it has.
    """
    losses = keras.tree.flatten(model.loss) if model.compiled else []
    tensors = keras.tree.flatten(getattr(model, "outputs", None) or [])
    return [
        _by_activation(tensor) or _by_loss(loss) or Output(Kind.QUANTITIES)
        for tensor, loss in zip(_each(tensors, count), _each(losses, count), strict=True)
    ]


def _each(entries: list[Any], count: int) -> list[Any]:
    return entries if len(entries) == count else [None] * count


_BY_ACTIVATION = {"softmax": Output(Kind.CLASSES), "sigmoid": Output(Kind.FLAGS)}


def _by_activation(tensor: Any) -> Output | None:
    if tensor is None:
        return None
    operation = operation_of(tensor)
    while isinstance(operation, keras.Model):
        operation = operation_of(operation.outputs[0])
    operation = getattr(operation, "layer", operation)
    activation = getattr(operation, "activation", None) or operation
    name = getattr(activation, "__name__", type(activation).__name__)
    return _BY_ACTIVATION.get(name.lower())


def _by_loss(loss: Any) -> Output | None:
    if not getattr(loss, "from_logits", False):
        return None
    of_flags = keras.losses.BinaryCrossentropy | keras.losses.BinaryFocalCrossentropy
    return Output(Kind.FLAGS if isinstance(loss, of_flags) else Kind.CLASSES, are_logits=True)
