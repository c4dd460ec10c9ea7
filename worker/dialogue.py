"""What one attempt at a job and its runners have to say to each other."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from app.jobs.claims import Claim
from app.jobs.job import Failure, Stage
from app.jobs.store import Store
from app.telemetry.tracing import Steps, span
from worker.bounds import Bounds
from worker.errors import (
    PausedError,
    RefusedError,
    RunnerDiedError,
    RunnerStuckError,
    StoppedError,
)
from worker.job_files import JobFiles
from worker.messages import (
    Advanced,
    Checked,
    Checkpointed,
    Converted,
    FileChecked,
    FileFailed,
    FileReport,
    FileWritten,
    Noticed,
    Order,
    Pruned,
    Ready,
    Refused,
    Report,
    StageBegun,
    Translated,
    Verified,
)
from worker.pulse import Pulse
from worker.runners import Runner

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_CHECKS = 0.2
#: Whoever pauses a job, or stops the worker, waits no longer than this for a training step to end
#: and be written down; if it does not, the last checkpoint stands.
_SECONDS_TO_WRITE_DOWN = 5.0

_Answer = TypeVar("_Answer", Translated, Pruned, Verified, Converted, Checked)


@dataclass(frozen=True, kw_only=True)
class Dialogue:
    """Gives runners their orders, and writes down what they report, within the bounds."""

    claim: Claim
    pulse: Pulse
    store: Store
    files: JobFiles
    bounds: Bounds
    ends_at: float  #: On the monotonic clock.

    def follow(
        self,
        runner: Runner,
        order: Order,
        *,
        answer: type[_Answer],
        on_file: Callable[[FileReport], None] | None = None,
    ) -> _Answer:
        """Give a runner its order, and follow it to its answer.

        Raises:
            RunnerDiedError: the runner is gone, was silent for too long, or spoke out of turn.
            RefusedError: it took too much, or says that it cannot.
            LostClaimError, CancelledError, PausedError, StoppedError: see ``Pulse.check``.
        """
        # A runner reaches no collector: what it does is traced here.
        with span(f"runner {order.kind}", {"process.pid": runner.pid}), Steps() as stages:
            if not isinstance(self._next_report(runner), Ready):
                raise out_of_turn()
            runner.give(order)
            try:
                return self._answer_of(runner, answer, on_file, stages)
            except (PausedError, StoppedError):
                self._have_written_down(runner)
                raise

    def _answer_of(
        self,
        runner: Runner,
        answer: type[_Answer],
        on_file: Callable[[FileReport], None] | None,
        stages: Steps,
    ) -> _Answer:
        while True:
            match self._next_report(runner):
                case Refused(failure=failure):
                    raise _refusal(failure)
                case StageBegun(stage=stage) as update:
                    stages.begin(stage)
                    self._record(update, runner)
                case Advanced() | Checkpointed() | Noticed() as update:
                    self._record(update, runner)
                case FileWritten() | FileChecked() | FileFailed() as update if on_file:
                    on_file(update)
                case outcome if isinstance(outcome, answer):
                    return outcome
                case _:
                    raise out_of_turn()

    def _have_written_down(self, runner: Runner) -> None:
        """Ask a runner that trains for a checkpoint, and wait for it a little."""
        if self.store.job(self.claim.job.id).stage is not Stage.FINE_TUNING:
            return
        runner.ask_for_checkpoint()
        ends_at = time.monotonic() + _SECONDS_TO_WRITE_DOWN
        while (left := ends_at - time.monotonic()) > 0:
            update = runner.receive(timeout_seconds=left)
            if isinstance(update, Advanced | Checkpointed):
                self._record(update, runner)
            if not isinstance(update, Advanced):
                return

    def _next_report(self, runner: Runner) -> Report:
        silent_since = time.monotonic()
        written = 0
        while True:
            self.pulse.check()
            self._require_time_left(silent_since)
            self._require_memory_left(runner)
            report = runner.receive(timeout_seconds=_SECONDS_BETWEEN_CHECKS)
            if report is not None:
                return report
            # Who packs a file of gigabytes says nothing for a long time, but writes.
            if (so_far := runner.written_bytes) != written:
                silent_since, written = time.monotonic(), so_far

    def _require_memory_left(self, runner: Runner) -> None:
        held, bound = runner.memory_bytes, self.bounds.memory_bytes
        if held > bound:
            logger.warning("job %s: its runner held %d bytes", self.claim.job.id, held)
            raise RefusedError(
                "out_of_memory",
                f"The job took more memory than the operator allows ({bound / 2**30:.1f} GiB).",
                hint="Lower training.batch_size, or upload a smaller model.",
            )

    def _require_time_left(self, silent_since: float) -> None:
        now = time.monotonic()
        if now > self.ends_at:
            raise RefusedError(
                "timed_out",
                "The job took longer than the operator allows "
                f"({self.bounds.job.total_seconds():.0f} s).",
                hint="Train fewer epochs, or on fewer samples.",
            )
        silence = self.bounds.silence.total_seconds()
        if now - silent_since > silence:
            message = f"The process that prunes the model was silent for {silence:.0f} s."
            raise RunnerStuckError(message)

    def _record(
        self, update: StageBegun | Advanced | Checkpointed | Noticed, runner: Runner
    ) -> None:
        match update:
            case StageBegun(stage=stage):
                self.store.record(self.claim, stage=stage)
            case Noticed(notice=notice):
                self.store.record(self.claim, notices=(notice,))
            case Advanced(progress=progress, history=history):
                self.store.record(self.claim, progress=progress, history=history)
            case Checkpointed():
                self.files.keep(update, folder=runner.folder)


def _refusal(failure: Failure) -> RefusedError:
    return RefusedError(failure.code, failure.message, hint=failure.hint)


def out_of_turn() -> RunnerDiedError:
    """Return what is raised where a runner says what it was not asked for."""
    return RunnerDiedError("The process that prunes the model spoke out of turn.")
