"""Submissions, and the ones that a caller repeats because no answer came."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from app.jobs.errors import IdempotencyConflictError
from app.jobs.job import Job
from app.jobs.rows import Origin, insert_job, job_from, read_row
from app.jobs.tables import idempotency_keys
from app.jobs.tenants import belonging_to


@dataclass(frozen=True, kw_only=True)
class Idempotency:
    """A caller's promise that requests with the same key are one request."""

    key: str
    fingerprint: str  #: Of everything that makes the request; SHA-256 in hexadecimal.


@dataclass(frozen=True)
class Submitted:
    """The answer to a submission."""

    job: Job
    replayed: bool  #: The job was there before: the idempotency key had been used.


def insert_once(
    connection: Connection, job: Job, idempotency: Idempotency, origin: Origin, *, at: datetime
) -> Submitted:
    """Write the job unless the key has one; of several requests at once, the table lets one in.

    Raises:
        IdempotencyConflictError: the key was used for another request.
    """
    try:
        with connection.begin_nested():
            insert_job(connection, job, origin, at=at)
            row = insert(idempotency_keys).values(
                tenant=origin.tenant,
                key=idempotency.key,
                fingerprint=idempotency.fingerprint,
                job_id=job.id,
            )
            connection.execute(row)
    except IntegrityError:
        first = _first(connection, idempotency, origin.tenant)
        if first is None:
            raise
        return Submitted(first, replayed=True)
    return Submitted(job, replayed=False)


def _first(connection: Connection, idempotency: Idempotency, tenant: str) -> Job | None:
    query = select(idempotency_keys).where(
        idempotency_keys.c.tenant == tenant, idempotency_keys.c.key == idempotency.key
    )
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    if row["fingerprint"] != idempotency.fingerprint:
        message = "an idempotency key must not be used for two different requests"
        raise IdempotencyConflictError(message)
    return job_from(read_row(connection, row["job_id"], belonging_to(tenant)))
