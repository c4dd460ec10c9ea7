"""The database: how it is opened, brought up to date, and what its failures are called here."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy
from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, Engine, event, func, make_url, select, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.jobs.errors import BackendUnavailableError

_MIGRATIONS = Path(__file__).parent / "migrations"
#: How long a writer waits for others.
_BUSY_SECONDS = 30
#: Execution option of a connection that is going to write.
_WRITES = "espalier_writes"
#: Of a connection that only reads; readers of SQLite see one moment without being told to.
_READS: Final[Mapping[str, Mapping[str, Any]]] = {
    "sqlite": {},
    "postgresql": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
}
#: Key of the lock that whoever migrates PostgreSQL holds.
_MIGRATING = 5_377_254

#: What each session of PostgreSQL is told. A worker that is cut off in the middle of a transaction
#: holds a row, so that nobody else can claim the job: its session must end before the lease does.
_SESSION: Final = {
    "timezone": "UTC",
    "lock_timeout": f"{_BUSY_SECONDS}s",
    "idle_in_transaction_session_timeout": "10s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "2",
    "tcp_user_timeout": "15000",
}
#: How our side finds out that the server is gone: in seconds, but for the last, in milliseconds.
_CONNECTION: Final = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
}


def create_engine(url: str) -> Engine:
    """Return the engine for a file of SQLite, whose folder is made if missing, or for PostgreSQL.

    Many processes may use the database at once: readers never wait; writers wait for one another,
    in PostgreSQL only where they write to the same rows, for up to 30 s.

    Args:
        url: ``sqlite:///`` and the path of the file, or
            ``postgresql://user:password@host:port/database``, and after a ``?`` whatever libpq
            knows: ``sslmode=verify-full``, for example.

    Raises:
        ValueError: ``url`` names another database, no file, or what is not installed.
    """
    parts = make_url(url)
    match parts.drivername:
        case "sqlite" if parts.database:
            return _sqlite_engine(parts, Path(parts.database))
        case "postgresql":
            return _postgresql_engine(parts)
        case _:
            given = parts.render_as_string(hide_password=True)
            message = (
                "the database URL must begin with sqlite:/// and name a file, or begin with "
                f"postgresql://. Received: {given}"
            )
            raise ValueError(message)


def _sqlite_engine(url: URL, file: Path) -> Engine:
    file.parent.mkdir(parents=True, exist_ok=True)
    engine = sqlalchemy.create_engine(url, connect_args={"timeout": _BUSY_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgresql_engine(url: URL) -> Engine:
    options = " ".join(f"-c {name}={value}" for name, value in _SESSION.items())
    try:
        return sqlalchemy.create_engine(
            url.set(drivername="postgresql+psycopg"),
            connect_args={**_CONNECTION, "options": options},
            # A server that was started again is not to cost a request for each connection.
            pool_pre_ping=True,
        )
    except ModuleNotFoundError as error:
        message = (
            "the database URL must begin with sqlite:/// where psycopg is not installed "
            "(it comes with espalier[postgresql]). Received: postgresql://"
        )
        raise ValueError(message) from error


def open_revision(engine: Engine) -> Revision | NoRevision:
    """Return what tells whether anything was written to the database of ``engine``."""
    return Revision(engine) if engine.dialect.name == "sqlite" else NoRevision()


class NoRevision:
    """For a database that cannot say for nothing whether it was written to: it may always be."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def number(self) -> int:
        """Return another number than before."""
        return next(self._numbers)

    def close(self) -> None:
        """Give nothing back: there is nothing."""


class Revision:
    """Tells whether anything was written to the database, without a look at its tables.

    Args:
        engine: Of SQLite; its file is there.
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
        # One caller at a time, so that a second one waits and then finds nothing left to do: on
        # SQLite the transaction holds the write lock.
        with writing(engine) as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text("SET LOCAL lock_timeout = 0"))
                connection.execute(select(func.pg_advisory_xact_lock(_MIGRATING)))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


@contextmanager
def writing(engine: Engine) -> Generator[Connection]:
    """Give a connection whose transaction may write; it commits at the end of the block.

    On SQLite it takes the write lock at once: a transaction that reads first and locks later
    fails instead of waiting. On PostgreSQL others write meanwhile, and each statement sees what
    they have committed: rows that a decision hangs on are locked before they are looked at.

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
    options = _READS[engine.dialect.name]
    with _translated(), engine.connect().execution_options(**options) as connection:
        yield connection


def database_time(connection: Connection) -> datetime:
    """Return the database's clock, in UTC: the one that all processes share."""
    if connection.dialect.name == "postgresql":
        # Not now(), which is when the transaction began.
        return connection.scalars(select(func.clock_timestamp())).one().astimezone(UTC)
    said = connection.scalar(select(func.strftime("%Y-%m-%d %H:%M:%f", "now")))
    return datetime.fromisoformat(str(said)).replace(tzinfo=UTC)


@contextmanager
def _translated() -> Generator[None]:
    try:
        yield
    except (DBAPIError, PoolTimeoutError) as error:
        if not _is_away(error):
            raise
        message = "the database does not answer"
        raise BackendUnavailableError(message) from error


def _is_away(error: DBAPIError | PoolTimeoutError) -> bool:
    # A session that PostgreSQL has ended is told so by errors of other kinds, too.
    return not isinstance(error, DBAPIError) or (
        isinstance(error, OperationalError) or error.connection_invalidated
    )


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
