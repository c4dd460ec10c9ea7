"""Messages to webhooks that are due, for who sends them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, select, update

from app.jobs.database import database_time, reading, writing
from app.jobs.deliveries import delivery_from, secret_of
from app.jobs.delivery import Attempt, Delivery
from app.jobs.tables import deliveries

#: Who took a message to send it, and died, has lost it after this.
_HELD_FOR = timedelta(minutes=5)


class Webhooks:
    """Messages of every tenant; safe to share between threads and processes.

    Args:
        engine: From ``app.jobs.database.create_engine``, brought up to date by ``migrate``.
        clock: What time it is.
    """

    def __init__(
        self, engine: Engine, *, clock: Callable[[Connection], datetime] = database_time
    ) -> None:
        self._engine = engine
        self._clock = clock

    def take_due(self, most: int) -> list[tuple[Delivery, str]]:
        """Return messages to be sent now, each with the secret that it is signed with.

        Nobody else is given them for a few minutes.

        Raises:
            BackendUnavailableError: the database cannot be reached.
        """
        with reading(self._engine) as connection:
            due = deliveries.c.next_attempt_at <= self._clock(connection)
            if connection.scalar(select(deliveries.c.id).where(due).limit(1)) is None:
                return []
        with writing(self._engine) as connection:
            now = self._clock(connection)
            due = deliveries.c.next_attempt_at <= now
            rows = (
                connection.execute(
                    select(deliveries)
                    .where(due)
                    .order_by(deliveries.c.next_attempt_at)
                    .limit(most)
                    .with_for_update(skip_locked=True)
                )
                .mappings()
                .all()
            )
            taken = deliveries.c.id.in_([row["id"] for row in rows])
            connection.execute(
                update(deliveries).where(taken).values(next_attempt_at=now + _HELD_FOR)
            )
            return [(delivery_from(row), secret_of(connection, row["tenant"])) for row in rows]

    def attempted(self, delivery: Delivery, *, status: int | None, error: str | None) -> None:
        """Write down how sending ``delivery`` went.

        Raises:
            BackendUnavailableError: the database cannot be reached.
        """
        with writing(self._engine) as connection:
            attempt = Attempt(at=self._clock(connection), status=status, error=error)
            after = delivery.after(attempt)
            connection.execute(
                update(deliveries)
                .where(deliveries.c.id == delivery.id)
                .values(
                    status=after.status,
                    attempts=after.attempts,
                    next_attempt_at=after.next_attempt_at,
                )
            )
