"""Whose turn it is: tenants are served one after the other, however much each has waiting.

Whoever was served last goes behind all others, so a tenant's single job waits for at most one job
of each other tenant. Among the jobs of one tenant its own priorities decide, then their age.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, and_, func, select

from app.jobs.job import JobStatus
from app.jobs.lanes import Lane
from app.jobs.tables import jobs, turns
from app.jobs.upsert import inserting


def note_served(connection: Connection, tenant: str) -> None:
    """Put the tenant behind all others."""
    last = select(func.coalesce(func.max(turns.c.turn), 0)).scalar_subquery()
    row = inserting(connection, turns).values(tenant=tenant, turn=last + 1)
    connection.execute(
        row.on_conflict_do_update(index_elements=["tenant"], set_={"turn": row.excluded.turn})
    )


def next_job(connection: Connection, lanes: Collection[Lane], *, now: datetime) -> str | None:
    """Return the job that a worker should claim now; ``None`` where none waits in these lanes.

    One whose worker let its lease run out goes first: it had its turn already. On PostgreSQL the
    job is locked from now on, and what others have locked, who are about to claim it, comes last.
    """
    abandoned = (
        select(jobs.c.id)
        .where(
            jobs.c.status == JobStatus.RUNNING,
            jobs.c.lane.in_(lanes),
            jobs.c.lease_expires_at < now,
        )
        .order_by(jobs.c.lease_expires_at, jobs.c.id)
        .limit(1)
    )
    waiting = and_(jobs.c.status == JobStatus.QUEUED, jobs.c.lane.in_(lanes))
    tenants = select(jobs.c.tenant).where(waiting).distinct().subquery()
    in_turn = (
        select(tenants.c.tenant)
        .outerjoin(turns, turns.c.tenant == tenants.c.tenant)
        .order_by(func.coalesce(turns.c.turn, 0), tenants.c.tenant)
        .limit(1)
    )
    queued = (
        select(jobs.c.id)
        .where(waiting, jobs.c.tenant == in_turn.scalar_subquery())
        .order_by(jobs.c.rank, jobs.c.created_at, jobs.c.id)
        .limit(1)
    )
    free = (query.with_for_update(skip_locked=True) for query in (abandoned, queued))
    return next(filter(None, map(connection.scalar, (*free, queued))), None)
