# ruff: noqa: ARG002  (SQLAlchemy passes the dialect; nothing here depends on it)
"""Column types that keep in the database what Python has: times with a zone, records as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import DateTime, Dialect, String, Text
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC. SQLite forgets the zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the moment in UTC; one without a zone is a bug of ours and raises."""
        if value is None:
            return None
        assert value.tzinfo is not None, "a stored time needs a zone"
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the moment with its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Id(TypeDecorator[str]):
    """What a row is found by.

    Callers ask for whatever they like: a text with a NUL in it, which PostgreSQL does not take, is
    the id of no row.
    """

    impl = String(40)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return the id; NULL, which nothing is equal to, for what cannot be one."""
        return None if value is None or "\0" in value else value


class JsonOf(TypeDecorator[Any]):
    """A record, or whatever else pydantic can write and read back, as JSON text.

    Args:
        shape: The type to read back, for example ``JobSpec`` or ``tuple[Notice, ...]``.
    """

    impl = Text
    cache_ok = True

    def __init__(self, shape: Any) -> None:  # noqa: ANN401  (a union or a generic is no `type`)
        """Build the reader once for all rows."""
        super().__init__()
        self.shape = shape
        self._adapter: TypeAdapter[Any] = TypeAdapter(shape)

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:
        """Return the record as JSON; ``None`` stays NULL."""
        return None if value is None else self._adapter.dump_json(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ANN401
        """Return the record."""
        return None if value is None else self._adapter.validate_json(value)
