"""One claimed job, from its files to its result; what happens to the runner is decided here.

It knows neither Celery nor Keras.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from app.jobs.artifacts import ArtifactStore, StoredArtifact, artifact_key
from app.jobs.claims import Claim
from app.jobs.errors import (
    BackendUnavailableError,
    LostClaimError,
    NotFoundError,
    RefusedSpecError,
)
from app.jobs.job import Failure
from app.jobs.plan import plan
from app.jobs.result import JobResult, Uploaded
from app.jobs.store import Store
from app.jobs.uploads import StoredDataset, StoredModel
from worker.errors import (
    CancelledError,
    RefusedError,
    RunnerDiedError,
    RunnerStuckError,
    StoppedError,
)
from worker.messages import (
    Advanced,
    Noticed,
    Order,
    Pruned,
    PruneOrder,
    Ready,
    Refused,
    Report,
    StageBegun,
    Update,
    Verified,
    VerifyOrder,
)
from worker.pulse import Pulse
from worker.runners import Runner, RunnerPool

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_CHECKS = 0.2
_ARTIFACT = "model.keras"

_Answer = TypeVar("_Answer", Pruned, Verified)


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How long things may take."""

    lease: timedelta  #: How long a claim holds without a heartbeat.
    silence: timedelta  #: Longest time without a report.
    attempt: timedelta  #: Longest time for one attempt.
    memory_bytes: int  #: Most that a runner may hold.


class Supervisor:
    """Carries out claimed jobs, one after the other.

    Args:
        store: Where jobs are.
        artifacts: Where files are.
        runners: Who does the work.
        name: Of this worker, for the operator.
        folder: Where attempts have their working folders.
        bounds: How long things may take.
        stopping: Set when the worker goes down.
    """

    def __init__(  # noqa: PLR0913  (its collaborators, each once)
        self,
        store: Store,
        artifacts: ArtifactStore,
        runners: RunnerPool,
        *,
        name: str,
        folder: Path,
        bounds: Bounds,
        stopping: threading.Event,
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._runners = runners
        self._name = name
        self._folder = folder
        self._bounds = bounds
        self._stopping = stopping

    def attend(self, job_id: str) -> None:
        """Claim the job and carry it out, if there is anything to do."""
        if self._stopping.is_set():
            return
        claim = self._store.claim(job_id, worker=self._name, lease=self._bounds.lease)
        if claim is not None:
            self.supervise(claim)

    def supervise(self, claim: Claim) -> None:
        """Carry out the job, and leave it succeeded, failed, cancelled or queued again.

        A claim that was lost meanwhile is left to whoever holds it now.
        """
        pulse = Pulse(self._store, claim, lease=self._bounds.lease, stopping=self._stopping)
        try:
            with pulse, self._working_folder(claim) as folder:
                self._carry_out(claim, pulse, folder)
        except LostClaimError:
            logger.warning("job %s, attempt %d: somebody else has it", claim.job.id, claim.attempt)
        finally:
            if not self._stopping.is_set():
                self._runners.refill()

    def _carry_out(self, claim: Claim, pulse: Pulse, folder: Path) -> None:
        attempt = _Attempt(
            claim=claim,
            pulse=pulse,
            folder=folder,
            store=self._store,
            artifacts=self._artifacts,
            runners=self._runners,
            bounds=self._bounds,
            ends_at=time.monotonic() + self._bounds.attempt.total_seconds(),
        )
        try:
            attempt.carry_out()
        except RefusedError as error:
            self._store.fail(claim, error.failure)
        except CancelledError:
            self._store.cancelled(claim)
        except RunnerDiedError as error:
            logger.warning("job %s, attempt %d: %s", claim.job.id, claim.attempt, error)
            self._store.hand_back(claim, str(error))
        except StoppedError:
            self._store.release(claim)
        except BackendUnavailableError as error:
            # Neither the job's fault nor the runner's; the reaper calls again, in seconds.
            logger.warning("job %s waits for the backend: %s", claim.job.id, error)
            self._store.release(claim)

    @contextmanager
    def _working_folder(self, claim: Claim) -> Generator[Path]:
        of_job = self._folder / claim.job.id
        # What a worker left behind that was killed.
        shutil.rmtree(of_job, ignore_errors=True)
        folder = of_job / str(claim.fence)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            _remove_if_empty(of_job)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    """One attempt at one job."""

    claim: Claim
    pulse: Pulse
    folder: Path
    store: Store
    artifacts: ArtifactStore
    runners: RunnerPool
    bounds: Bounds
    ends_at: float  #: On the monotonic clock.

    def carry_out(self) -> None:
        """Prune, verify, publish."""
        model, dataset = self._uploads()
        with self.runners.take() as runner:
            # Fetched while a runner that is not ready yet imports what it needs.
            order = self._prune_order(model, dataset, folder=runner.folder)
            pruned = self._run(runner, order, answer=Pruned)
            kept = _moved(_verify_order(order, pruned), to=self.folder)
        with self.runners.take() as runner:
            order = _moved(kept, to=runner.folder)
            verified = self._run(runner, order, answer=Verified)
            kept = _moved(order, to=self.folder)
        self._publish(kept.artifact, _result(pruned, verified, model))

    def _uploads(self) -> tuple[StoredModel, StoredDataset | None]:
        job = self.claim.job
        try:
            model = self.store.model(job.model.id)
            dataset = None if job.dataset is None else self.store.dataset(job.dataset.id)
        except NotFoundError as error:
            raise _gone(error) from error
        return model, dataset

    def _prune_order(
        self, model: StoredModel, dataset: StoredDataset | None, *, folder: Path
    ) -> PruneOrder:
        job = self.claim.job
        try:
            planned = plan(job.spec, model.summary, dataset and dataset.summary)
        except RefusedSpecError as error:
            raise RefusedError(
                "spec_not_feasible",
                f"The spec cannot be carried out on this model and data: {error}.",
                hint="Change the fields that are named.",
            ) from error
        return PruneOrder(
            folder=folder,
            model=self._fetched(model.key, folder / f"uploaded.{model.summary.format}"),
            dataset=None if dataset is None else self._fetched(dataset.key, folder / "dataset.npz"),
            artifact=folder / _ARTIFACT,
            reference=folder / "reference.npz",
            spec=planned.spec,
            total_steps=planned.total_steps,
        )

    def _fetched(self, key: str, path: Path) -> Path:
        try:
            self.artifacts.fetch(key, path)
        except NotFoundError as error:
            raise _gone(error) from error
        return path

    def _run(self, runner: Runner, order: Order, *, answer: type[_Answer]) -> _Answer:
        if not isinstance(self._next_report(runner), Ready):
            raise _out_of_turn()
        runner.give(order)
        while True:
            match self._next_report(runner):
                case Refused(failure=failure):
                    raise _refusal(failure)
                case StageBegun() | Advanced() | Noticed() as update:
                    self._record(update)
                case outcome if isinstance(outcome, answer):
                    return outcome
                case _:
                    raise _out_of_turn()

    def _next_report(self, runner: Runner) -> Report:
        silent_since = time.monotonic()
        while True:
            self.pulse.check()
            self._require_time_left(silent_since)
            self._require_memory_left(runner)
            report = runner.receive(timeout_seconds=_SECONDS_BETWEEN_CHECKS)
            if report is not None:
                return report

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
                f"({self.bounds.attempt.total_seconds():.0f} s).",
                hint="Train fewer epochs, or on fewer samples.",
            )
        silence = self.bounds.silence.total_seconds()
        if now - silent_since > silence:
            message = f"The process that prunes the model was silent for {silence:.0f} s."
            raise RunnerStuckError(message)

    def _record(self, update: Update) -> None:
        match update:
            case StageBegun(stage=stage):
                self.store.record(self.claim, stage=stage)
            case Noticed(notice=notice):
                self.store.record(self.claim, notices=(notice,))
            case Advanced(progress=progress, history=history):
                self.store.record(self.claim, progress=progress, history=history)
                # Now that the training is under way, the next runner can be imported.
                self.runners.refill()

    def _publish(self, path: Path, result: JobResult) -> None:
        self.pulse.check()
        [artifact] = result.artifacts
        key = artifact_key(self.claim.job.id, self.claim.fence, artifact.name)
        self.artifacts.put(key, path)
        stored = StoredArtifact(
            name=artifact.name,
            key=key,
            format=artifact.format,
            bytes=artifact.bytes,
            sha256=artifact.sha256,
        )
        try:
            self.store.succeed(self.claim, result, [stored])
        except LostClaimError:
            self.artifacts.delete(key)
            raise


def _verify_order(order: PruneOrder, pruned: Pruned) -> VerifyOrder:
    return VerifyOrder(
        folder=order.folder,
        dataset=order.dataset,
        artifact=order.artifact,
        reference=order.reference,
        spec=order.spec,
        pruned=pruned,
    )


def _moved(order: VerifyOrder, *, to: Path) -> VerifyOrder:
    """Return the order for the same files, moved to where their runner can reach them, or cannot.

    Raises:
        RunnerDiedError: the last one that could reach them took one away.
    """
    paths = {"dataset": order.dataset, "artifact": order.artifact, "reference": order.reference}
    moved = {name: _renamed(path, to=to) for name, path in paths.items() if path is not None}
    return order.model_copy(update={"folder": to, **moved})


def _renamed(path: Path, *, to: Path) -> Path:
    if path.is_symlink() or not path.is_file():
        message = f"The process that prunes the model left no file {path.name!r} behind."
        raise RunnerDiedError(message)
    return path.rename(to / path.name)


def _result(pruned: Pruned, verified: Verified, model: StoredModel) -> JobResult:
    measured = pruned.evaluated_on is not None
    return JobResult(
        baseline=pruned.baseline,
        pruned=verified.artifact.metrics if measured else None,
        evaluated_on=pruned.evaluated_on,
        sparsity=verified.sparsity,
        uploaded=Uploaded(
            bytes=model.ref.bytes,
            bytes_without_optimizer=model.ref.bytes - model.summary.optimizer_bytes,
        ),
        parameters=verified.parameters,
        layers=verified.layers,
        artifacts=(verified.artifact,),
    )


def _out_of_turn() -> RunnerDiedError:
    return RunnerDiedError("The process that prunes the model spoke out of turn.")


def _refusal(failure: Failure) -> RefusedError:
    return RefusedError(failure.code, failure.message, hint=failure.hint)


def _gone(error: NotFoundError) -> RefusedError:
    return RefusedError(
        "upload_gone",
        f"A file that the job needs is gone: {error}.",
        hint="Upload it again, and submit the job again.",
    )
