"""The job record and the moves it can make."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict

from app.jobs.errors import JobConflictError
from app.jobs.result import JobResult
from app.jobs.spec import JobSpec


class JobStatus(StrEnum):
    """Where a job stands. The last three are final."""

    QUEUED = "queued"  #: Accepted; waiting for a worker.
    RUNNING = "running"  #: A worker holds it.
    PAUSED = "paused"  #: The caller set it aside; it holds no worker.
    SUCCEEDED = "succeeded"  #: The pruned model can be downloaded.
    FAILED = "failed"  #: It will not be tried again; the failure says why.
    CANCELLED = "cancelled"  #: The caller withdrew it.

    @property
    def is_final(self) -> bool:
        """Whether nothing can change it any more."""
        return not _MOVES[self]


_MOVES: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset(
        {JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.FAILED, JobStatus.CANCELLED}
    ),
    JobStatus.RUNNING: frozenset(
        {
            JobStatus.QUEUED,
            JobStatus.PAUSED,
            JobStatus.SUCCEEDED,
            JobStatus.FAILED,
            JobStatus.CANCELLED,
        }
    ),
    JobStatus.PAUSED: frozenset({JobStatus.QUEUED, JobStatus.CANCELLED}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
}


class Stage(StrEnum):
    """What a running job is doing."""

    VALIDATING = "validating"
    BASELINE = "baseline"
    FINE_TUNING = "fine_tuning"
    EXPORTING = "exporting"
    VERIFYING = "verifying"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileRef(_Record):
    """An uploaded file, as the job that uses it remembers it."""

    id: str
    filename: str
    bytes: int
    sha256: str


class LayerProgress(_Record):
    """How far one weight tensor is."""

    name: str  #: Path of the layer, for example ``encoder/dense``.
    weight: str  #: Name of the weight in its layer, for example ``kernel``.
    sparsity: float  #: Fraction of zeros, in [0, 1].


class Progress(_Record):
    """How far the fine-tuning is."""

    step: int
    total_steps: int
    epoch: int  #: Counted from 1; 0 before the first.
    epochs: int
    sparsity: float  #: Fraction of zeros among the prunable weights, now.
    eta_seconds: float | None  #: Until the last step; ``None`` while nothing is known.
    layers: tuple[LayerProgress, ...] = ()  #: Those that are pruned, as last counted.


class Notice(_Record):
    """Something the caller should know, though the job goes on."""

    code: str
    message: str


class Failure(_Record):
    """Why a job failed, in words that the person who uploaded the file can act on."""

    code: str
    message: str
    hint: str


class Job(_Record):
    """One request to prune one model: what the caller sees of it, at one moment."""

    id: str
    status: JobStatus = JobStatus.QUEUED
    stage: Stage | None = None  #: Set while it runs; after a failure, where it failed.
    created_at: datetime
    started_at: datetime | None = None  #: When a worker first took it.
    finished_at: datetime | None = None
    progress: Progress | None = None
    model: FileRef
    dataset: FileRef | None = None
    spec: JobSpec  #: As understood, every default filled in.
    warnings: tuple[Notice, ...] = ()
    failure: Failure | None = None
    result: JobResult | None = None

    @property
    def expires_at(self) -> datetime | None:
        """When it goes with its files; ``None`` for never, and before it has finished."""
        if self.finished_at is None or self.spec.retention_seconds is None:
            return None
        return self.finished_at + timedelta(seconds=self.spec.retention_seconds)

    def moved_to(self, status: JobStatus, *, at: datetime) -> Self:
        """Return the job in ``status``, with the times that the move sets.

        Args:
            status: Where it goes.
            at: When, on the store's clock, in UTC.

        Raises:
            JobConflictError: the job's status does not allow the move.
        """
        if status not in _MOVES[self.status]:
            message = f"a {self.status} job cannot become {status}"
            raise JobConflictError(message)
        changes: dict[str, object] = {"status": status}
        if status is JobStatus.RUNNING and self.started_at is None:
            changes["started_at"] = at
        if status.is_final:
            changes["finished_at"] = at
        return self.model_copy(update=changes)

    def warned(self, *notices: Notice) -> Self:
        """Return the job with these warnings too; what it says already is not repeated."""
        warnings = tuple(dict.fromkeys((*self.warnings, *notices)))
        return self.model_copy(update={"warnings": warnings})
