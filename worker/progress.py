"""How a training is reported while it runs."""

# pyright: reportUnknownMemberType=false, reportMissingSuperCall=false

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import keras

from app.jobs.history import HistoryChunk, Scope
from app.jobs.job import LayerProgress, Progress
from worker.errors import RefusedError
from worker.messages import Advanced
from worker.models import renamed

_SECONDS_BETWEEN_REPORTS = 0.5
#: A longer training keeps every second step of its history, or every third, and so on.
_MOST_ROWS = 2000


class ProgressReports(keras.callbacks.Callback):
    """Reports the first step and the last, between them at most twice a second.

    A training that diverges is ended.

    Args:
        report: Where to.
        total_steps: Of the whole training.
        epochs: Likewise.
        sparsity_at: Sparsity among the prunable weights after a step.
        count_layers: How sparse each of their tensors is now; asked when the sparsity has changed.
        start: Steps that were made before, in another process.
        clock: Seconds, from anywhere.
    """

    def __init__(  # noqa: PLR0913  (all that it tells of, each once)
        self,
        report: Callable[[Advanced], None],
        *,
        total_steps: int,
        epochs: int,
        sparsity_at: Callable[[int], float],
        count_layers: Callable[[], tuple[LayerProgress, ...]],
        start: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.steps = start
        self._start = start
        self._report = report
        self._total_steps = total_steps
        self._epochs = epochs
        self._epoch = 0
        self._sparsity_at = sparsity_at
        self._count_layers = count_layers
        self._layers: tuple[LayerProgress, ...] = ()
        self._counted_at: float | None = None
        self._clock = clock
        self._stride = -(-total_steps // _MOST_ROWS)
        self._step_rows: list[dict[str, float]] = []
        self._epoch_rows: list[dict[str, float]] = []
        self._first_step_at = 0.0
        self._reported_at = -math.inf

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Count the epoch."""
        del logs
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Count the step, keep its figures, and report when it is time to.

        Raises:
            RefusedError: the loss is no finite number any more.
        """
        del batch
        self.steps += 1
        figures = renamed(logs or {})
        self._require_finite(figures["loss"])
        if self.steps % self._stride == 0:
            self._step_rows.append(self._row(figures, step=self.steps))
        now = self._clock()
        if self.steps == self._start + 1:
            self._first_step_at = now
        if self._is_due(now):
            self._report(self.advanced())

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keep the epoch's figures, and report when it is time to, or the training is over."""
        self._epoch_rows.append(self._row(renamed(logs or {}), epoch=epoch + 1))
        now = self._clock()
        if self._is_due(now) or self.steps == self._total_steps:
            self._report(self.advanced())

    def _row(self, figures: dict[str, float], **number: int) -> dict[str, float]:
        """Return a row of the history; a metric of the model may be called ``step`` too."""
        own = {**number, "sparsity": self._sparsity_at(self.steps)}
        return own | figures | own

    def _is_due(self, now: float) -> bool:
        return now - self._reported_at >= _SECONDS_BETWEEN_REPORTS

    def _require_finite(self, loss: float) -> None:
        if math.isfinite(loss):
            return
        raise RefusedError(
            "training_diverged",
            f"The loss stopped being a finite number at step {self.steps} of "
            f"{self._total_steps}. Received: {loss}",
            hint="Lower training.optimizer.learning_rate, and check that the inputs are scaled "
            "as the model was trained on (preprocessing.rescale).",
        )

    def advanced(self) -> Advanced:
        """Return what there is to report now; it counts as reported."""
        now = self._reported_at = self._clock()
        sparsity = self._sparsity_at(self.steps)
        if sparsity != self._counted_at:
            self._counted_at, self._layers = sparsity, self._count_layers()
        progress = Progress(
            step=self.steps,
            total_steps=self._total_steps,
            epoch=self._epoch,
            epochs=self._epochs,
            sparsity=sparsity,
            eta_seconds=self._eta_seconds(now),
            layers=self._layers,
        )
        history = (
            *_chunk(Scope.STEP, self._step_rows),
            *_chunk(Scope.EPOCH, self._epoch_rows),
        )
        self._step_rows, self._epoch_rows = [], []
        return Advanced(progress=progress, history=history)

    def _eta_seconds(self, now: float) -> float | None:
        # The first step took as long as it did because it was compiled.
        timed_steps = self.steps - self._start - 1
        if timed_steps <= 0:
            return None
        return (now - self._first_step_at) / timed_steps * (self._total_steps - self.steps)


def _chunk(scope: Scope, rows: list[dict[str, float]]) -> tuple[HistoryChunk, ...]:
    if not rows:
        return ()
    columns = {name: tuple(row[name] for row in rows) for name in rows[0]}
    return (HistoryChunk(scope=scope, columns=columns),)
