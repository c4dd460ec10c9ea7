"""The cool-down: a learning rate that falls to zero once a model is as sparse as it will be."""

# What is inherited from Keras has no type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedBaseClass=false

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import keras
from keras import ops

from pruning_core.errors import PruningConfigError


@keras.saving.register_keras_serializable(package="espalier")
class CoolDown(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate as it is up to ``begin_step``; then along half a cosine to 0 at ``end_step``.

    ``rate(t) * (1 + cos(pi * p)) / 2`` with
    ``p = clip((t - begin_step) / (end_step - begin_step), 0, 1)``.

    Args:
        learning_rate: ``rate``: a number, or a schedule of its own.
        begin_step: Up to here the learning rate is ``rate``.
        end_step: After ``begin_step``; the learning rate is 0 from here on.

    Source: Loshchilov and Hutter, 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts",
    eq. 5. arXiv:1608.03983
    """

    def __init__(self, learning_rate: Any, begin_step: int, end_step: int) -> None:
        """Keep what to cool down, and when."""
        super().__init__()
        self.learning_rate = learning_rate
        self.begin_step = begin_step
        self.end_step = end_step

    def __call__(self, step: Any) -> Any:
        """Return the learning rate of the step after ``step`` steps."""
        is_schedule = isinstance(
            self.learning_rate, keras.optimizers.schedules.LearningRateSchedule
        )
        rate = self.learning_rate(step) if is_schedule else self.learning_rate
        cooling = (ops.cast(step, "float32") - self.begin_step) / (self.end_step - self.begin_step)
        return rate * (1 + ops.cos(math.pi * ops.clip(cooling, 0.0, 1.0))) / 2

    def get_config(self) -> dict[str, Any]:
        """Arguments, the learning rate serialized."""
        return {
            "learning_rate": keras.saving.serialize_keras_object(self.learning_rate),
            "begin_step": self.begin_step,
            "end_step": self.end_step,
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Self:
        """Undo ``get_config``."""
        rate = keras.saving.deserialize_keras_object(
            config["learning_rate"], custom_objects=custom_objects
        )
        return cls(rate, config["begin_step"], config["end_step"])


def cool_down(optimizer: keras.optimizers.Optimizer, begin_step: int, end_step: int) -> None:
    """Let the learning rate of ``optimizer`` cool down from ``begin_step`` to ``end_step``.

    Raises:
        PruningConfigError: there is no time for it, or ``optimizer`` has no one learning rate.
    """
    if begin_step >= end_step:
        message = (
            "cool_down must have steps left once the last sparsity is reached. "
            f"Received: it is reached after step {begin_step} of {end_step}"
        )
        raise PruningConfigError(message, field="cool_down")
    rate = optimizer.get_config().get("learning_rate")
    if rate is None:
        message = (
            "cool_down needs an optimizer with a learning rate. "
            f"Received: {type(optimizer).__name__}"
        )
        raise PruningConfigError(message, field="cool_down")
    optimizer.learning_rate = CoolDown(
        keras.saving.deserialize_keras_object(rate), begin_step, end_step
    )
