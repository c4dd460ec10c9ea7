"""Claims: who may write to a running job, and how an attempt ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    and_,
    delete,
    func,
    or_,
    select,
    update,
)

from app.jobs.artifacts import StoredCheckpoint
from app.jobs.errors import LostClaimError
from app.jobs.job import Failure, Job, JobStatus, Notice
from app.jobs.rows import job_from, update_job
from app.jobs.tables import history, jobs

#: Why an attempt is over whose worker let the lease run out.
WORKER_SILENT = "The worker that held the job stopped answering."


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A worker's right to write to a job, until somebody else claims it."""

    job: Job  #: As it was when claimed.
    fence: int  #: Higher than that of every earlier claim.
    attempt: int  #: Counted from 1 since the last checkpoint; released ones do not count.
    checkpoint: StoredCheckpoint | None = None  #: Where to go on; ``None`` for from the beginning.
    worked: timedelta = timedelta()  #: What earlier attempts, of whichever worker, have taken.
    traceparent: str | None = None  #: Of the request that submitted it; ``None`` for untraced.


class Wish(Enum):
    """What the caller of a running job wants of it."""

    GO_ON = auto()
    PAUSE = auto()
    CANCEL = auto()  #: Goes before pausing.


def is_claimable(now: datetime) -> ColumnElement[bool]:
    """Return the condition for jobs that wait, or whose worker let the lease run out."""
    abandoned = and_(jobs.c.status == JobStatus.RUNNING, jobs.c.lease_expires_at < now)
    return or_(jobs.c.status == JobStatus.QUEUED, abandoned)


def take(
    connection: Connection, job_id: str, *, worker: str, lease: timedelta, now: datetime
) -> RowMapping | None:
    """Raise the fence of a claimable job, so that no earlier claim holds; ``None`` if it is none.

    One conditional update: of many workers that try, it lets one in.
    """
    claimed = (
        update(jobs)
        .where(jobs.c.id == job_id, is_claimable(now))
        .values(
            fence=jobs.c.fence + 1,
            attempts=jobs.c.attempts + 1,
            worker=worker,
            lease_expires_at=now + lease,
        )
        .returning(jobs)
    )
    return connection.execute(claimed).mappings().one_or_none()


def extend(
    connection: Connection, claim: Claim, *, lease: timedelta, worked: timedelta, now: datetime
) -> Wish:
    """Move the end of the lease, and add what was worked since; return what the caller wants.

    Raises:
        LostClaimError: the claim does not hold any more.
    """
    held = (
        update(jobs)
        .where(_is_held_by(claim))
        .values(
            lease_expires_at=now + lease,
            worked_seconds=jobs.c.worked_seconds + worked.total_seconds(),
        )
        .returning(jobs.c.cancel_requested, jobs.c.pause_requested)
    )
    row = connection.execute(held).mappings().one_or_none()
    if row is None:
        raise _lost(claim)
    return wish_of(row)


def wish_of(row: RowMapping) -> Wish:
    """Return what the caller wants of the job in ``row``."""
    if row["cancel_requested"]:
        return Wish.CANCEL
    return Wish.PAUSE if row["pause_requested"] else Wish.GO_ON


def held_row(connection: Connection, claim: Claim) -> RowMapping:
    """Return the job's row, which nobody else can change until the transaction ends.

    Raises:
        LostClaimError: the claim does not hold any more.
    """
    query = select(jobs).where(_is_held_by(claim)).with_for_update()
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise _lost(claim)
    return row


def cancel(connection: Connection, job: Job, *, at: datetime) -> Job:
    """End the job as its caller asked."""
    return update_job(connection, job, job.moved_to(JobStatus.CANCELLED, at=at), at=at)


def fail(connection: Connection, job: Job, failure: Failure, *, at: datetime) -> Job:
    """End the job with words."""
    failed = job.moved_to(JobStatus.FAILED, at=at)
    return update_job(connection, job, failed.model_copy(update={"failure": failure}), at=at)


def set_down(
    connection: Connection,
    row: RowMapping,
    *notices: Notice,
    wanted: Wish,
    at: datetime,
    **columns: object,
) -> Job:
    """End an attempt as the caller wants: cancelled, paused, or else queued to be gone on with.

    What was made after the last checkpoint is forgotten. Of a queued job a worker should be told
    at once.
    """
    job = job_from(row)
    match wanted:
        case Wish.CANCEL:
            return cancel(connection, job, at=at)
        case Wish.PAUSE:
            moved = job.moved_to(JobStatus.PAUSED, at=at)
        case Wish.GO_ON:
            moved = job.moved_to(JobStatus.QUEUED, at=at).warned(*notices)
    _forget_history(connection, job.id, after=row["checkpoint_history"])
    checkpoint: StoredCheckpoint | None = row["checkpoint"]
    after = moved.model_copy(
        update={"stage": None, "progress": None if checkpoint is None else checkpoint.progress}
    )
    freed = {"rung_at": None, "pause_requested": False}
    return update_job(connection, job, after, at=at, **freed, **columns)


def keep(connection: Connection, job_id: str, checkpoint: StoredCheckpoint) -> None:
    """Have the next attempt go on at ``checkpoint``, behind the history that is there now.

    The attempts before it got that far, so they do not count any more.
    """
    last = select(func.coalesce(func.max(history.c.number), 0)).where(history.c.job_id == job_id)
    row = update(jobs).where(jobs.c.id == job_id)
    connection.execute(
        row.values(checkpoint=checkpoint, checkpoint_history=last.scalar_subquery(), attempts=1)
    )


def forget_checkpoint(connection: Connection, job: Job, *, at: datetime) -> Job:
    """Have this attempt begin anew, and the next ones too."""
    _forget_history(connection, job.id, after=0)
    after = job.model_copy(update={"progress": None})
    return update_job(connection, job, after, at=at, checkpoint=None, checkpoint_history=0)


def _forget_history(connection: Connection, job_id: str, *, after: int) -> None:
    connection.execute(delete(history).where(history.c.job_id == job_id, history.c.number > after))


def given_up(reason: str, attempts: int) -> Failure:
    """Return the failure of a job that was tried ``attempts`` times."""
    return Failure(
        code="runner_died",
        message=f"{reason} That was attempt {attempts} of {attempts}.",
        hint=(
            "Often the worker's memory is too small for the model or the batch: try a smaller "
            "training.batch_size. If that does not help, ask the operator for the worker's log."
        ),
    )


def _is_held_by(claim: Claim) -> ColumnElement[bool]:
    return and_(
        jobs.c.id == claim.job.id,
        jobs.c.fence == claim.fence,
        jobs.c.status == JobStatus.RUNNING,
    )


def _lost(claim: Claim) -> LostClaimError:
    return LostClaimError(f"claim {claim.fence} on the job {claim.job.id} does not hold any more")
