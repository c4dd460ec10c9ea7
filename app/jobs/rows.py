"""Jobs, their events and their history as rows: every change of a job is also an event."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, func, insert, select, update

from app.jobs.deliveries import announce
from app.jobs.errors import JobNotFoundError
from app.jobs.events import EventKind, Told, changes
from app.jobs.history import History, HistoryChunk, Scope, joined
from app.jobs.job import Job
from app.jobs.lanes import Lane
from app.jobs.tables import events, history, jobs
from app.jobs.tallies import count_move
from app.jobs.tenants import Whose

#: What an update may change of the record; the rest is as submitted.
_MUTABLE = (
    "status",
    "stage",
    "started_at",
    "finished_at",
    "progress",
    "warnings",
    "failure",
    "result",
)


def job_from(row: RowMapping) -> Job:
    """Return the record in a row of ``jobs``."""
    return Job.model_validate({name: row[name] for name in Job.model_fields})


def require_job(connection: Connection, job_id: str, whose: Whose) -> None:
    """Raise JobNotFoundError when there is no such job among those."""
    _only(connection, select(jobs.c.id).where(jobs.c.id == job_id, whose(jobs)), job_id)


def read_row(connection: Connection, job_id: str, whose: Whose) -> RowMapping:
    """Return a job's row, or raise JobNotFoundError."""
    return _only(connection, _by_id(job_id, whose), job_id)


def lock_row(connection: Connection, job_id: str, whose: Whose) -> RowMapping:
    """Return a job's row, which nobody else can change until the transaction ends.

    Raises:
        JobNotFoundError: there is no such job.
    """
    return _only(connection, _by_id(job_id, whose).with_for_update(), job_id)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the store keeps of a submission beside the job record."""

    tenant: str
    lane: Lane = Lane.SMALL
    traceparent: str | None = None  #: Of the request, by W3C Trace Context; ``None`` for untraced.


def insert_job(connection: Connection, job: Job, origin: Origin, *, at: datetime) -> None:
    """Write a new job and its first events."""
    fields = {name: getattr(job, name) for name in Job.model_fields}
    row = insert(jobs).values(
        **fields,
        tenant=origin.tenant,
        lane=origin.lane,
        traceparent=origin.traceparent,
        model_id=job.model.id,
        dataset_id=None if job.dataset is None else job.dataset.id,
        rank=-job.spec.priority,
        since=at,
    )
    connection.execute(row)
    append_events(connection, job.id, changes(None, job), at=at)


def update_job(
    connection: Connection, before: Job, after: Job, *, at: datetime, **columns: object
) -> Job:
    """Write what changed, with its events and what a webhook is told; return ``after``.

    Args:
        connection: In a writing transaction that holds the row.
        before: The record as the row has it.
        after: The record as it will be.
        at: When, for the events.
        columns: Values for the columns of ``jobs`` that are not in the record.
    """
    fields = {name: getattr(after, name) for name in _MUTABLE}
    columns["expires_at"] = after.expires_at
    moves = (before.status, before.stage) != (after.status, after.stage)
    since = None
    if moves:
        since = connection.scalar(select(jobs.c.since).where(jobs.c.id == after.id))
        columns["since"] = at
    row = update(jobs).where(jobs.c.id == after.id).values(**fields, **columns)
    connection.execute(row)
    append_events(connection, after.id, changes(before, after), at=at)
    announce(connection, before, after, at=at)
    if moves:
        # Last, because every job's are counted in the same rows, and who waits for one waits for
        # all that is still to be done here.
        count_move(connection, before, after, since=since or at, at=at)
    return after


def note_ring(connection: Connection, job_id: str, *, at: datetime) -> None:
    """Remember that a worker was told of the job."""
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(rung_at=at))


def append_events(
    connection: Connection, job_id: str, told: Iterable[Told], *, at: datetime
) -> None:
    """Number the events on from the job's last; the transaction holds the job's row."""
    last = select(func.coalesce(func.max(events.c.number), 0)).where(events.c.job_id == job_id)
    first = connection.scalars(last).one() + 1
    rows = [
        {"job_id": job_id, "number": number, "at": at, "kind": kind, "data": data}
        for number, (kind, data) in enumerate(told, start=first)
    ]
    if rows:
        connection.execute(insert(events), rows)


def append_history(
    connection: Connection, job_id: str, chunk: HistoryChunk, *, at: datetime
) -> None:
    """Write further rows; each that stands for an epoch is an event.

    The transaction holds the job's row.
    """
    last = select(func.coalesce(func.max(history.c.number), 0)).where(history.c.job_id == job_id)
    row = insert(history).values(
        job_id=job_id,
        number=connection.scalars(last).one() + 1,
        scope=chunk.scope,
        columns=chunk.columns,
    )
    connection.execute(row)
    if chunk.scope is Scope.EPOCH:
        told = ((EventKind.EPOCH, epoch) for epoch in chunk.rows())
        append_events(connection, job_id, told, at=at)


def read_history(connection: Connection, job_id: str) -> History:
    """Return the figures of the attempt that holds the job, or held it last."""
    query = (
        select(history.c.scope, history.c.columns)
        .where(history.c.job_id == job_id)
        .order_by(history.c.number)
    )
    chunks = connection.execute(query).all()
    return History(
        steps=joined(columns for scope, columns in chunks if scope is Scope.STEP),
        epochs=joined(columns for scope, columns in chunks if scope is Scope.EPOCH),
    )


def _by_id(job_id: str, whose: Whose) -> Select[Any]:
    return select(jobs).where(jobs.c.id == job_id, whose(jobs))


def _only(connection: Connection, query: Select[Any], job_id: str) -> RowMapping:
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        message = f"there is no job {job_id!r:.80}"
        raise JobNotFoundError(message)
    return row
