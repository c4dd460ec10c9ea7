"""The optimizer wrapper that keeps pruned weights at zero through every step.

See docs/decisions/0001 for why it is an optimizer.
"""

# What is inherited from Keras has no type.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import keras
import numpy as np
from keras import ops

from pruning_core.acceleration import compiled, taken_over, zero_except
from pruning_core.mask import Mask
from pruning_core.randomness import RandomState


class Companions(NamedTuple):
    """Vectors with entries for each output of a weight tensor: zero where all of that are."""

    kernel: int  #: Position of the tensor, one of those that have a mask.
    inputs: Sequence[int]  #: Axes of the tensor that are not its outputs.
    #: By position, how many entries they have for each output.
    vectors: Sequence[tuple[int, int]]


@keras.saving.register_keras_serializable(package="espalier")
class PruningOptimizer(keras.optimizers.Optimizer):
    """Another optimizer, after each of whose steps the pruned weights are exactly zero.

    The masks, and the step up to which they are up to date, are variables of the optimizer: a
    checkpoint that holds the optimizer holds them, and on JAX they are in the train state. Beside
    them it holds ``random_state``, once that is set to the model's.

    Args:
        inner_optimizer: Does the actual update; learning rate, iterations, clipping, moving
            average and accumulation are its own. A ``LossScaleOptimizer`` goes around this
            optimizer, never inside.
        pruned: Positions, among the variables this optimizer is built with, of the weights that
            have a mask.
        companions: What goes with the outputs of some of these, see ``Companions``.
        name: Name of the optimizer.
    """

    def __init__(
        self,
        inner_optimizer: keras.optimizers.Optimizer,
        pruned: Sequence[int],
        companions: Sequence[Companions] = (),
        name: str | None = None,
    ) -> None:
        """Wrap ``inner_optimizer``."""
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer = inner_optimizer
        self.pruned = tuple(pruned)
        self.companions = tuple(Companions(*each) for each in companions)
        self.random_state = RandomState()

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Create the masks, all True, and the inner optimizer's variables."""
        self._masks = [self._add_mask(variables[position]) for position in self.pruned]
        self._done_up_to = self.add_variable(
            shape=(),
            initializer=keras.initializers.Constant(-1),
            dtype="int",
            aggregation="only_first_replica",
            name="masks_done_up_to",
        )
        self.inner_optimizer.build(variables)
        super().build(variables)
        self._step = compiled(self._make_step, variables) if self._is_built_in else self._make_step
        self._mask = compiled(self._set_pruned_to_zero, variables)

    def _add_mask(self, variable: keras.Variable) -> keras.Variable:
        return self.add_variable(
            shape=variable.shape,
            initializer="ones",
            dtype="bool",
            aggregation="only_first_replica",
            name=f"{variable.name}_mask",
        )

    @property
    def variables(self) -> list[keras.Variable]:
        """Own variables, then the inner optimizer's."""
        return self._variables + self.inner_optimizer.variables

    def apply(
        self, grads: Sequence[Any], trainable_variables: Sequence[keras.Variable] | None = None
    ) -> None:
        """Make the inner optimizer's step, then set the pruned weights to zero."""
        if not self.built and trainable_variables is not None:
            self.build(list(trainable_variables))
        if trainable_variables is None or _are_same(trainable_variables, self._trainable_variables):
            self._step(list(grads))
        else:
            self.inner_optimizer.apply(grads, trainable_variables)
            self.apply_masks()

    def _make_step(self, grads: Sequence[Any]) -> None:
        self.inner_optimizer.apply(grads, self._trainable_variables)
        self._set_pruned_to_zero()

    @property
    def _is_built_in(self) -> bool:
        # What a user has written may do more than a compiler understands.
        rate = self.inner_optimizer._learning_rate  # noqa: SLF001 - the schedule, not its value
        written_by_user = [
            part
            for part in (self.inner_optimizer, rate)
            if not type(part).__module__.startswith("keras.")
        ]
        return not written_by_user

    def apply_masks(self) -> None:
        """Set the pruned weights to zero, and their moving averages where there are any."""
        self._mask()

    def _set_pruned_to_zero(self) -> None:
        averages = getattr(self.inner_optimizer, "_model_variables_moving_average", None)
        for position, mask in self._masks_in_force():
            _zero_where_pruned(self._trainable_variables[position], mask)
            if averages is not None:
                _zero_where_pruned(averages[position], mask)

    def _masks_in_force(self) -> Iterator[tuple[int, Any]]:
        masks = dict(zip(self.pruned, self._masks, strict=True))
        yield from masks.items()
        for kernel, inputs, vectors in self.companions:
            kept = ops.any(ops.convert_to_tensor(masks[kernel]), axis=tuple(inputs))
            for position, times in vectors:
                yield position, kept if times == 1 else ops.repeat(kept, times)

    def set_masks(self, masks: Mapping[int, Mask], *, up_to: int) -> None:
        """Replace masks and apply them.

        Args:
            masks: New masks by position, see ``pruned``; the others stay as they are. Taken over:
                whoever gives them writes to them no more.
            up_to: Step up to which no further update is due.
        """
        for position, mask in zip(self.pruned, self._masks, strict=True):
            if position in masks:
                mask.assign(taken_over(masks[position]))
        self._done_up_to.assign(up_to)
        self.apply_masks()

    def finalize_variable_values(self, var_list: Sequence[keras.Variable]) -> None:
        """Let the inner optimizer set the final values, then set the pruned weights to zero."""
        self.inner_optimizer.finalize_variable_values(var_list)
        self.apply_masks()

    def steps_done(self) -> int:
        """How many updates the inner optimizer has made; waits for the device."""
        return int(ops.convert_to_numpy(self.iterations))

    def masks_done_up_to(self) -> int:
        """Step up to which every due mask update has been made; -1 before the first."""
        return int(ops.convert_to_numpy(self._done_up_to))

    @property
    def iterations(self) -> Any:
        """Steps done, as the inner optimizer counts them."""
        return self.inner_optimizer.iterations

    @property
    def learning_rate(self) -> Any:
        """The inner optimizer's."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        self.inner_optimizer.learning_rate = learning_rate

    @property
    def _model_variables_moving_average(self) -> Any:
        # SwapEMAWeights looks for it here where loss scaling is around this optimizer.
        return self.inner_optimizer._model_variables_moving_average  # noqa: SLF001

    def scale_loss(self, loss: Any) -> Any:
        """As the inner optimizer, which undoes it, wants the loss scaled."""
        return self.inner_optimizer.scale_loss(loss)

    def save_own_variables(self, store: Any) -> None:
        """Save what is not the inner optimizer's: Keras saves that one beside it."""
        for position, variable in enumerate(self._variables):
            store[str(position)] = ops.convert_to_numpy(variable)
        self.random_state.save(store)

    def load_own_variables(self, store: Any) -> None:
        """Load what ``save_own_variables`` saved."""
        for position, variable in enumerate(self._variables):
            variable.assign(np.asarray(store[str(position)]))
        self.random_state.load(store)

    def get_config(self) -> dict[str, Any]:
        """Name, inner optimizer, and which variables have masks."""
        return {
            "name": self.name,
            "inner_optimizer": keras.saving.serialize_keras_object(self.inner_optimizer),
            "pruned": list(self.pruned),
            "companions": [list(each) for each in self.companions],
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Self:
        """Undo ``get_config``."""
        inner_optimizer = keras.saving.deserialize_keras_object(
            config["inner_optimizer"], custom_objects=custom_objects
        )
        return cls(inner_optimizer, config["pruned"], config["companions"], name=config["name"])


def _are_same(ones: Sequence[Any], others: Sequence[Any]) -> bool:
    return len(ones) == len(others) and all(
        one is other for one, other in zip(ones, others, strict=True)
    )


def _zero_where_pruned(variable: keras.Variable, mask: Any) -> None:
    values, keep = ops.convert_to_tensor(variable), ops.convert_to_tensor(mask)
    variable.assign(zero_except(keep, values))
