"""The Keras callback that chooses the masks anew when a schedule says so."""

# What is inherited from Keras has no type.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pruning_core.allocation import masks
from pruning_core.checks import require_finite
from pruning_core.criterion import Magnitudes
from pruning_core.errors import NonFiniteWeightsError
from pruning_core.groups import Scheduled
from pruning_core.mask import Mask
from pruning_core.optimizer import PruningOptimizer


class MaskUpdates(keras.callbacks.Callback):
    """Chooses masks anew at the update steps of the schedules, on the host.

    An update that falls inside one execution of several steps is made right after it. What has
    been done is read from the optimizer, so training that was stopped goes on as if it had not
    been.

    Between updates it only counts: it asks the device how many steps were done when, by the
    batches seen, an update may be due, and at the beginning of an epoch.
    """

    def __init__(self, optimizer: PruningOptimizer, scheduled: Sequence[Scheduled]) -> None:
        """Keep what is to be updated, and where."""
        super().__init__()
        self._optimizer = optimizer
        self._scheduled = tuple(scheduled)
        self._step = 0
        self._batch = -1
        self._done_up_to = -1

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Make the updates that are due: the one before the first step, or after a resume.

        Not in ``on_train_begin``, where other callbacks restore checkpoints.
        """
        del epoch, logs
        self._update(batch=-1)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Make the updates that are due after this batch."""
        del logs
        step_at_most = self._step + batch - self._batch
        if any(
            group.is_due(step_at_most, done_up_to=self._done_up_to) for group in self._scheduled
        ):
            self._update(batch)

    def _update(self, batch: int) -> None:
        attached(self.model)
        self._step = self._optimizer.steps_done()
        self._batch = batch
        self._done_up_to = update_masks(self._optimizer, self._scheduled, self._step)


def attached(model: keras.Model) -> keras.Model:
    """Return ``model``, its variables up to date: on JAX they are not, in the midst of an epoch."""
    if keras.backend.backend() == "jax":
        model.jax_state_sync()
    return model


def update_masks(optimizer: PruningOptimizer, scheduled: Sequence[Scheduled], step: int) -> int:
    """Make every update that is due at ``step``; return the step up to which all are made.

    Raises:
        NonFiniteWeightsError: weights to choose from are NaN or infinite.
    """
    done_up_to = optimizer.masks_done_up_to()
    due = [group for group in scheduled if group.is_due(step, done_up_to=done_up_to)]
    if not due:
        return done_up_to
    choose_masks(optimizer, due, step)
    return step


def choose_masks(optimizer: PruningOptimizer, scheduled: Sequence[Scheduled], step: int) -> None:
    """Choose the masks of ``scheduled`` by the weights as they are, as far as ``step`` asks.

    Raises:
        NonFiniteWeightsError: weights to choose from are NaN or infinite.
    """
    try:
        chosen = {
            position: mask
            for group in scheduled
            for position, mask in zip(group.positions, _chosen(group, step), strict=True)
        }
    except NonFiniteWeightsError:
        _require_finite_weights(scheduled, step)
        raise
    optimizer.set_masks(chosen, up_to=step)


def _chosen(group: Scheduled, step: int) -> Iterator[Mask]:
    scores = (Magnitudes(_values(variable)) for variable in group.variables)
    return masks(group.allocation, group.kernels, scores, group.level_at(step))


def _require_finite_weights(scheduled: Sequence[Scheduled], step: int) -> None:
    """Refuse with the name of the tensor; looked for only once it is known that there is one."""
    for group in scheduled:
        for name, variable in zip(group.names, group.variables, strict=True):
            require_finite(f"the weights of {name} after step {step}", _values(variable))


def _values(variable: keras.Variable) -> NDArray[Any]:
    """Return what the variable holds; what the backend holds itself, where that is in memory."""
    if keras.backend.backend() == "torch":
        return keras.ops.convert_to_numpy(variable)
    # What convert_to_numpy returns is a copy; this is not.
    return np.asarray(keras.ops.stop_gradient(variable.value))
