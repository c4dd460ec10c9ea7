"""Claims: who may write to a running job, and how an attempt ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, delete, or_, select, update

from app.jobs.errors import LostClaimError
from app.jobs.job import Failure, Job, JobStatus, Notice
from app.jobs.rows import update_job
from app.jobs.tables import history, jobs

#: Why an attempt is over whose worker let the lease run out.
WORKER_SILENT = "The worker that held the job stopped answering."


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A worker's right to write to a job, until somebody else claims it."""

    job: Job  #: As it was when claimed.
    fence: int  #: Higher than that of every earlier claim.
    attempt: int  #: Counted from 1; attempts that a stopping worker released do not count.


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


def extend(connection: Connection, claim: Claim, *, lease: timedelta, now: datetime) -> bool:
    """Move the end of the lease; return whether cancelling was asked for.

    Raises:
        LostClaimError: the claim does not hold any more.
    """
    held = (
        update(jobs)
        .where(_is_held_by(claim))
        .values(lease_expires_at=now + lease)
        .returning(jobs.c.cancel_requested)
    )
    cancel_requested = connection.scalar(held)
    if cancel_requested is None:
        raise _lost(claim)
    return cancel_requested


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


def queue_again(
    connection: Connection, job: Job, *notices: Notice, at: datetime, **columns: object
) -> Job:
    """Put the job back, as if it had not begun; a worker should be told of it at once."""
    connection.execute(delete(history).where(history.c.job_id == job.id))
    queued = job.moved_to(JobStatus.QUEUED, at=at).model_copy(
        update={"stage": None, "progress": None}
    )
    return update_job(connection, job, queued.warned(*notices), at=at, rung_at=None, **columns)


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
