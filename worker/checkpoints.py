"""A training written down, so that another process goes on as if nothing had happened.

A checkpoint is one HDF5 file: what Keras saves of a model (weights, the optimizer with its masks,
the random numbers of layers), and beside it what Keras keeps nowhere: which step it was, and what
the metrics had gathered of their epoch.
"""

# pyright: reportUnknownMemberType=false, reportMissingSuperCall=false

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import h5py
import keras

from worker.data import Array
from worker.messages import Advanced, Checkpointed, Update, checkpoint_path
from worker.progress import ProgressReports

logger = logging.getLogger(__name__)

#: Beside the groups that Keras makes.
_GROUP = "espalier"
#: Writing checkpoints takes at most this share of the time.
_SHARE = 0.02


@dataclass(frozen=True)
class Position:
    """Where in its training a model is."""

    step: int = 0  #: Batches it was trained on.
    metrics: tuple[Array, ...] = ()  #: Values of the metrics' variables.


def write_checkpoint(model: keras.Model, path: Path, *, step: int) -> None:
    """Write down a compiled model after ``step`` batches; ``path`` ends in ``.weights.h5``."""
    model.save_weights(path)
    with h5py.File(path, "a") as file:
        group = file.create_group(_GROUP)
        group.attrs["step"] = step
        for number, variable in enumerate(model.metrics_variables):
            group[str(number)] = keras.ops.convert_to_numpy(variable)


def read_checkpoint(model: keras.Model, path: Path, batch: Sequence[Any]) -> Position:
    """Bring a model, compiled as the other one was, to where that one was written down.

    Args:
        model: Not trained yet; its optimizer is built.
        path: What ``write_checkpoint`` wrote.
        batch: Inputs and labels: Keras makes the variables of metrics when it sees the first ones.
    """
    model.test_on_batch(*batch)
    model.load_weights(path)
    with h5py.File(path) as file:
        group = file[_GROUP]
        metrics = tuple(group[str(number)][()] for number in range(len(group)))
        return Position(int(group.attrs["step"]), metrics)


@dataclass(frozen=True)
class Leg:
    """Batches for one call of ``fit``, which can begin with any epoch, but not in its midst."""

    start: int  #: The first batch, counted over all epochs.
    epoch: int  #: Its epoch, counted from 0.
    end_epoch: int  #: The epoch after the last.
    steps_per_epoch: int  #: In each.


def legs(start: int, *, steps_per_epoch: int, epochs: int) -> Iterator[Leg]:
    """Yield what is left of a training after ``start`` steps: the rest of an epoch, whole ones.

    >>> [leg.start for leg in legs(7, steps_per_epoch=5, epochs=4)]
    [7, 10]
    >>> [leg.start for leg in legs(20, steps_per_epoch=5, epochs=4)]
    []
    """
    epoch, made = divmod(start, steps_per_epoch)
    if made:
        yield Leg(start, epoch, epoch + 1, steps_per_epoch - made)
        epoch += 1
    if epoch < epochs:
        yield Leg(epoch * steps_per_epoch, epoch, epochs, steps_per_epoch)


class Checkpoints(keras.callbacks.Callback):
    """Writes a training down every so often, when somebody asks for it, and when it is over.

    The last of the callbacks, because what the others do after a batch belongs to it. A
    checkpoint that cannot be written is left out.

    Args:
        folder: Where to; see ``checkpoint_path``.
        reports: Who counts the steps, and knows what has not been reported yet.
        report: Where to say so.
        total_steps: Of the whole training.
        steps_per_epoch: Of every epoch.
        metrics: Of the ``Position`` that the training goes on from.
        seconds_between: At least, from one to the next.
        asked: Set when one is wanted now; cleared here.
        clock: Seconds, from anywhere.
    """

    def __init__(  # noqa: PLR0913  (its collaborators, each once)
        self,
        folder: Path,
        reports: ProgressReports,
        report: Callable[[Update], None],
        *,
        total_steps: int,
        steps_per_epoch: int,
        metrics: Sequence[Array],
        seconds_between: float,
        asked: Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._folder = folder
        self._reports = reports
        self._report = report
        self._total_steps = total_steps
        self._steps_per_epoch = steps_per_epoch
        self._metrics = tuple(metrics)
        self._seconds_between = seconds_between
        self._asked = asked
        self._clock = clock
        self._due_at = math.inf

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Count the time from here, not from when the model was compiled."""
        del logs
        self._due_at = min(self._due_at, self._clock() + self._seconds_between)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Put back what the metrics had gathered of an epoch that goes on here."""
        del epoch, logs
        if self._reports.steps % self._steps_per_epoch:
            for variable, value in zip(self.model.metrics_variables, self._metrics, strict=True):
                variable.assign(value)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Write down what is due; the end of an epoch waits for its validation."""
        del batch, logs
        if self._is_due() and self._reports.steps % self._steps_per_epoch:
            self._write()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write down what is due, and the end of the training in any case."""
        del epoch, logs
        if self._is_due() or self._reports.steps == self._total_steps:
            self._write()

    def _is_due(self) -> bool:
        return self._asked.is_set() or self._clock() >= self._due_at

    def _write(self) -> None:
        began_at = self._clock()
        self._asked.clear()
        self._report(self._written(self._reports.advanced()))
        ended_at = self._clock()
        pause = max(self._seconds_between, (ended_at - began_at) / _SHARE)
        self._due_at = ended_at + pause

    def _written(self, advanced: Advanced) -> Advanced | Checkpointed:
        step = advanced.progress.step
        path = checkpoint_path(self._folder, step)
        try:
            write_checkpoint(self.model, path, step=step)
        except OSError as error:
            logger.warning("no checkpoint after step %d: %s", step, error)
            path.unlink(missing_ok=True)
            return advanced
        return Checkpointed(progress=advanced.progress, history=advanced.history)
