"""The database: how it is opened, brought up to date, and what its failures are called here."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, event, func, make_url, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.jobs.errors import BackendUnavailableError

_MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_SECONDS = 30
#: Execution option of a connection that is going to write.
_WRITES = "espalier_writes"


def create_engine(url: str) -> Engine:
    """Return the engine for a file of SQLite, whose folder is made if missing.

    Many processes may use the file at once: readers never wait, writers wait for one another for
    up to 30 s.

    Raises:
        ValueError: ``url`` names another database, or no file.
    """
    parts = make_url(url)
    if parts.get_backend_name() != "sqlite" or not parts.database:
        given = parts.render_as_string(hide_password=True)
        message = f"the database URL must begin with sqlite:/// and name a file. Received: {given}"
        raise ValueError(message)
    Path(parts.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sqlalchemy.create_engine(parts, connect_args={"timeout": _BUSY_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


class Revision:
    """Tells whether anything was written to the database, without a look at its tables.

    Args:
        engine: From ``create_engine``; its file is there.
    """

    def __init__(self, engine: Engine) -> None:
        # A connection of its own: it counts what all the others commit, in whatever process.
        self._connection = sqlite3.connect(
            str(engine.url.database), isolation_level=None, check_same_thread=False
        )

    def number(self) -> int:
        """Return another number than before if something was committed since; in microseconds.

        Raises:
            BackendUnavailableError: the database cannot be reached.
        """
        try:
            (number,) = self._connection.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error as error:
            message = "the database does not answer"
            raise BackendUnavailableError(message) from error
        return number

    def close(self) -> None:
        """Give the file back."""
        self._connection.close()


def migrate(url: str) -> None:
    """Bring the database to the newest tables; several processes may call it at once.

    Raises:
        BackendUnavailableError: the database cannot be reached.
    """
    engine = create_engine(url)
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    try:
        # On SQLite the transaction holds the write lock, so that a second caller waits and then
        # finds nothing left to do.
        with writing(engine) as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


@contextmanager
def writing(engine: Engine) -> Generator[Connection]:
    """Give a connection whose transaction may write; it commits at the end of the block.

    On SQLite it takes the write lock at once: a transaction that reads first and locks later
    fails instead of waiting.

    Raises:
        BackendUnavailableError: the database cannot be reached, or is locked for too long.
    """
    with (
        _translated(),
        engine.connect().execution_options(**{_WRITES: True}) as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def reading(engine: Engine) -> Generator[Connection]:
    """Give a connection that sees one moment of the database.

    Raises:
        BackendUnavailableError: the database cannot be reached.
    """
    with _translated(), engine.connect() as connection:
        yield connection


def database_time(connection: Connection) -> datetime:
    """Return the database's clock, in UTC: the one that all processes share."""
    text = connection.scalar(select(func.strftime("%Y-%m-%d %H:%M:%f", "now")))
    return datetime.fromisoformat(str(text)).replace(tzinfo=UTC)


@contextmanager
def _translated() -> Generator[None]:
    try:
        yield
    except (OperationalError, PoolTimeoutError) as error:
        message = "the database does not answer"
        raise BackendUnavailableError(message) from error


def _prepare_sqlite(connection: DBAPIConnection, _record: object) -> None:
    # The driver would begin transactions by itself, and never for reading; `_begin_sqlite` does.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
