"""Claimed jobs, one after the other: what becomes of each is decided here.

It knows neither Celery nor Keras.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path

from app.jobs.artifacts import ArtifactStore, checkpoints_prefix
from app.jobs.claims import Claim
from app.jobs.errors import BackendUnavailableError, LostClaimError, StorageFullError
from app.jobs.job import Job, JobStatus
from app.jobs.lanes import Lane
from app.jobs.store import Store
from app.telemetry.logs import concerning
from app.telemetry.tracing import span
from worker.attempt import Attempt
from worker.bounds import Bounds
from worker.dialogue import Dialogue
from worker.errors import (
    CancelledError,
    PausedError,
    RefusedError,
    RunnerDiedError,
    StoppedError,
)
from worker.job_files import JobFiles
from worker.pulse import Pulse
from worker.runners import RunnerPool

logger = logging.getLogger(__name__)


class Supervisor:
    """Carries out claimed jobs, one after the other.

    Args:
        store: Where jobs are.
        artifacts: Where files are.
        runners: Who does the work.
        name: Of this worker, for the operator.
        lanes: Which jobs it takes.
        folder: Where attempts have their working folders.
        bounds: How long things may take.
        stopping: Set when the worker goes down: what runs is handed back.
    """

    def __init__(  # noqa: PLR0913  (its collaborators, each once)
        self,
        store: Store,
        artifacts: ArtifactStore,
        runners: RunnerPool,
        *,
        name: str,
        lanes: Collection[Lane],
        folder: Path,
        bounds: Bounds,
        stopping: threading.Event,
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._runners = runners
        self._name = name
        self._lanes = lanes
        self._folder = folder
        self._bounds = bounds
        self._stopping = stopping

    def attend(self) -> None:
        """Claim the job that is next and carry it out, if there is one and room for it.

        Without room the job stays where it is: the reaper calls again, every minute. A job whose
        runner died waits again, and nobody was called for it: whichever is next now is taken too.
        """
        while not self._stopping.is_set() and self._has_room():
            claim = self._store.claim_next(self._lanes, worker=self._name, lease=self._bounds.lease)
            if claim is None or self.supervise(claim) is not JobStatus.QUEUED:
                return

    def _has_room(self) -> bool:
        try:
            self._artifacts.require_room(0)
        except BackendUnavailableError as error:
            logger.warning("no job is taken: %s", error)
            return False
        return True

    def supervise(self, claim: Claim) -> JobStatus | None:
        """Carry out the job, and leave it succeeded, failed, cancelled, paused or queued again.

        A claim that was lost meanwhile is left to whoever holds it now.

        Returns:
            What became of it; ``None`` where that is another's to say, or a backend was away.
        """
        about = {"espalier.job": claim.job.id, "espalier.attempt": claim.attempt}
        status = None
        with concerning(claim.job.id), span("attempt", about, parent=claim.traceparent) as attempt:
            pulse = Pulse(self._store, claim, lease=self._bounds.lease, stopping=self._stopping)
            try:
                with pulse:
                    status = self._carry_out(claim, pulse)
                attempt.set_attribute("espalier.status", status)
            except LostClaimError:
                logger.warning(
                    "job %s, attempt %d: somebody else has it", claim.job.id, claim.attempt
                )
            except BackendUnavailableError as error:
                # Where the claim could not even be given back, its lease runs out.
                logger.warning("job %s, attempt %d: %s", claim.job.id, claim.attempt, error)
        return status

    def _carry_out(self, claim: Claim, pulse: Pulse) -> JobStatus:
        logger.info("job %s, attempt %d: taken", claim.job.id, claim.attempt)
        status = self._outcome(claim, pulse).status
        logger.info("job %s, attempt %d: the job is %s", claim.job.id, claim.attempt, status)
        if status.is_final:
            self._forget_checkpoints(claim.job.id)
        return status

    def _outcome(self, claim: Claim, pulse: Pulse) -> Job:
        try:
            with self._working_folder(claim) as folder:
                return self._attempt(claim, pulse, folder).carry_out()
        except RefusedError as error:
            return self._store.fail(claim, error.failure)
        except CancelledError:
            return self._store.cancelled(claim)
        except (RunnerDiedError, StorageFullError, OSError) as error:
            logger.warning("job %s, attempt %d: %s", claim.job.id, claim.attempt, error)
            return self._store.hand_back(claim, _in_words(error))
        except (PausedError, StoppedError):
            return self._store.release(claim)
        except BackendUnavailableError as error:
            # Neither the job's fault nor the runner's; the reaper calls again, in seconds.
            self._store.release(claim)
            message = f"the job waits: {error}"
            raise BackendUnavailableError(message) from error

    def _attempt(self, claim: Claim, pulse: Pulse, folder: Path) -> Attempt:
        files = JobFiles(
            claim=claim, pulse=pulse, folder=folder, store=self._store, artifacts=self._artifacts
        )
        dialogue = Dialogue(
            claim=claim,
            pulse=pulse,
            store=self._store,
            files=files,
            bounds=self._bounds,
            ends_at=time.monotonic() + (self._bounds.job - claim.worked).total_seconds(),
        )
        return Attempt(
            files=files,
            dialogue=dialogue,
            runners=self._runners,
            seconds_between_checkpoints=self._bounds.checkpoint.total_seconds(),
        )

    def _forget_checkpoints(self, job_id: str) -> None:
        try:
            self._artifacts.delete_below(checkpoints_prefix(job_id))
        except BackendUnavailableError as error:
            logger.warning("checkpoints of job %s are left behind: %s", job_id, error)

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


def _in_words(error: RunnerDiedError | StorageFullError | OSError) -> str:
    match error:
        case RunnerDiedError():
            return str(error)
        case StorageFullError():
            return "The service's disk has no room for the files of the job."
        case OSError():
            return f"The worker cannot keep the files of the job ({error.strerror})."


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return
