"""Which workers there are, as far as they let us know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, delete, insert, select

from app.jobs.confinement.process import Confinement
from app.jobs.database import database_time, reading, writing
from app.jobs.devices import Device
from app.jobs.tables import workers


class Workers:
    """The workers that were seen of late; safe to share between threads.

    Args:
        engine: From ``app.jobs.database.create_engine``, brought up to date by ``migrate``.
        clock: What time it is for leases.
    """

    def __init__(
        self, engine: Engine, *, clock: Callable[[Connection], datetime] = database_time
    ) -> None:
        self._engine = engine
        self._clock = clock

    def here(
        self,
        name: str,
        confinement: Confinement,
        *,
        lease: timedelta,
        devices: Sequence[Device] = (),
    ) -> None:
        """Note that a worker is there.

        Args:
            name: What it is called, ``<process>@<host>``.
            confinement: Of its runners.
            lease: For how long, if it says nothing more.
            devices: Its GPUs, as they are now.

        Raises:
            BackendUnavailableError: the database cannot be reached.
        """
        with writing(self._engine) as connection:
            now = self._clock(connection)
            gone = (workers.c.name == name) | (workers.c.expires_at < now)
            connection.execute(delete(workers).where(gone))
            row = insert(workers).values(
                name=name,
                expires_at=now + lease,
                confinement=confinement,
                devices=tuple(devices),
            )
            connection.execute(row)

    def confinement(self) -> Confinement | None:
        """Return what holds for the runners of every worker; ``None`` where there is no worker.

        Raises:
            BackendUnavailableError: the database cannot be reached.
        """
        with reading(self._engine) as connection:
            there = workers.c.expires_at >= self._clock(connection)
            each = list(connection.scalars(select(workers.c.confinement).where(there)))
        if not each:
            return None
        return Confinement(
            landlock=min(one.landlock for one in each), seccomp=all(one.seccomp for one in each)
        )
