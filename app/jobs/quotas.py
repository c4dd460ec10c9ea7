"""Quotas: how much of the service one tenant may take."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from app.jobs.errors import JobQuotaError, StorageQuotaError
from app.jobs.job import JobStatus
from app.jobs.tables import artifacts, datasets, jobs, models, partial_uploads

#: First part of the keys of the locks that PostgreSQL has for this.
_LOCK = 5_377
_UNFINISHED = [status for status in JobStatus if not status.is_final]


@dataclass(frozen=True, kw_only=True)
class Quota:
    """Bounds of one tenant."""

    #: Of models, datasets and artifacts together, those still sent and compressed forms included.
    stored_bytes: int
    unfinished_jobs: int

    def require_room_for_bytes(self, connection: Connection, tenant: str, count: int) -> None:
        """Raise StorageQuotaError when ``count`` more bytes are too many."""
        used = stored_bytes(connection, tenant)
        if used + count > self.stored_bytes:
            message = (
                f"a tenant may store {self.stored_bytes} bytes; {used} are taken, and deleting "
                f"models, datasets or finished jobs frees them. Received: {count} more"
            )
            raise StorageQuotaError(message)

    def require_room_for_jobs(self, connection: Connection, tenant: str, count: int) -> None:
        """Raise JobQuotaError when ``count`` more unfinished jobs are too many; 0 after adding."""
        if unfinished_jobs(connection, tenant) + count > self.unfinished_jobs:
            message = (
                f"a tenant may have {self.unfinished_jobs} jobs that have not finished. "
                "Received: one more"
            )
            raise JobQuotaError(message)


def hold(connection: Connection, tenant: str) -> None:
    """Have nobody else take more for the tenant until the transaction ends.

    What is counted then still holds when it commits. On SQLite, who writes is alone anyway.
    """
    if connection.dialect.name == "postgresql":
        lock = func.pg_advisory_xact_lock(_LOCK, func.hashtext(tenant))
        connection.execute(select(lock))


def stored_bytes(connection: Connection, tenant: str) -> int:
    """Return how many bytes of files the tenant keeps here, and is sending in pieces."""
    of_jobs = (
        select(func.sum(artifacts.c.bytes + artifacts.c.compressed_bytes))
        .join(jobs, jobs.c.id == artifacts.c.job_id)
        .where(jobs.c.tenant == tenant)
    )
    uploads = (
        select(func.sum(table.c.bytes)).where(table.c.tenant == tenant)
        for table in (models, datasets, partial_uploads)
    )
    return sum(connection.scalar(query) or 0 for query in (*uploads, of_jobs))


def unfinished_jobs(connection: Connection, tenant: str) -> int:
    """Return how many jobs of the tenant wait, run or are paused."""
    query = (
        select(func.count())
        .select_from(jobs)
        .where(jobs.c.tenant == tenant, jobs.c.status.in_(_UNFINISHED))
    )
    return connection.scalars(query).one()
