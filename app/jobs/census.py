"""The census: what there is at one moment, and what has been counted so far, of all tenants.

It names no tenant. What it costs grows with what has not ended, and not with what has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, func, select

from app.jobs.database import database_time, reading
from app.jobs.devices import Device
from app.jobs.job import JobStatus
from app.jobs.lanes import Lane
from app.jobs.tables import jobs, tallies, workers
from app.jobs.tallies import Tally

_UNFINISHED = [status for status in JobStatus if not status.is_final]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The jobs of one lane that stand alike."""

    status: JobStatus
    lane: Lane
    jobs: int
    longest: timedelta  #: How long the one that came first has been there.


@dataclass(frozen=True, kw_only=True)
class Counted:
    """One row of a tally."""

    tally: Tally
    label: str
    bucket: int  #: Position in ``tallies.BOUNDS``; 0 where nothing is measured.
    count: int
    total: float


@dataclass(frozen=True, kw_only=True)
class SeenWorker:
    """A worker that was there of late."""

    name: str
    devices: tuple[Device, ...]


@dataclass(frozen=True, kw_only=True)
class Census:
    """What was found."""

    unfinished: tuple[Standing, ...]  #: Only those that there are.
    counted: tuple[Counted, ...]  #: Only those that have happened.
    workers: tuple[SeenWorker, ...]


def take_census(
    engine: Engine, *, clock: Callable[[Connection], datetime] = database_time
) -> Census:
    """Look, and count.

    Raises:
        BackendUnavailableError: the database cannot be reached.
    """
    with reading(engine) as connection:
        now = clock(connection)
        return Census(
            unfinished=_unfinished(connection, now),
            counted=_counted(connection),
            workers=_workers(connection, now),
        )


def _unfinished(connection: Connection, now: datetime) -> tuple[Standing, ...]:
    since = func.min(func.coalesce(jobs.c.since, jobs.c.created_at))
    query = (
        select(jobs.c.status, jobs.c.lane, func.count(), since)
        .where(jobs.c.status.in_(_UNFINISHED))
        .group_by(jobs.c.status, jobs.c.lane)
    )
    return tuple(
        Standing(status=status, lane=lane, jobs=count, longest=max(now - first, timedelta()))
        for status, lane, count, first in connection.execute(query)
    )


def _counted(connection: Connection) -> tuple[Counted, ...]:
    return tuple(
        Counted(
            tally=Tally(row["tally"]),
            label=row["label"],
            bucket=row["bucket"],
            count=row["count"],
            total=row["total"],
        )
        for row in connection.execute(select(tallies)).mappings()
    )


def _workers(connection: Connection, now: datetime) -> tuple[SeenWorker, ...]:
    query = select(workers.c.name, workers.c.devices).where(workers.c.expires_at >= now)
    return tuple(
        SeenWorker(name=name, devices=devices) for name, devices in connection.execute(query)
    )
