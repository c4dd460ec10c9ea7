"""An INSERT that can say what happens where the row is there already."""

from __future__ import annotations

from typing import TypeAlias

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

_Insert: TypeAlias = sqlite.Insert | postgresql.Insert


def inserting(connection: Connection, table: Table) -> _Insert:
    """Return the INSERT of the connection's dialect; standard SQL has no ``ON CONFLICT``."""
    is_postgresql = connection.dialect.name == "postgresql"
    return postgresql.insert(table) if is_postgresql else sqlite.insert(table)
