"""What is done to a running service: each strike is over, and everything runs again, on return."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from random import Random
from typing import TypeAlias

import psycopg

from bench.parts import Part
from bench.service import Service

#: Longer than the lease of the service, which is 5 s.
_BEYOND_LEASE_SECONDS = 7.0


def kill_runner(service: Service, random: Random) -> None:
    """Kill a process that prunes, or one that waits to."""
    _signal_runner(service, random, signal.SIGKILL)


def freeze_runner(service: Service, random: Random) -> None:
    """Have one stand still for a while."""
    pid = _signal_runner(service, random, signal.SIGSTOP)
    time.sleep(random.uniform(1, _BEYOND_LEASE_SECONDS))
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def kill_nursery(service: Service, random: Random) -> None:
    """Kill a process that runners are forked from."""
    if pids := service.nurseries():
        with suppress(ProcessLookupError):
            os.kill(random.choice(pids), signal.SIGKILL)


def kill_worker(service: Service, random: Random) -> None:
    """Kill a worker."""
    _kill(random.choice(service.workers), random)


def freeze_worker(service: Service, random: Random) -> None:
    """Have a worker stand still for longer than its lease, and then go on, unaware."""
    worker = random.choice(service.workers)
    worker.freeze()
    time.sleep(_BEYOND_LEASE_SECONDS)
    worker.thaw()


def stop_worker(service: Service, random: Random) -> None:
    """Send a worker SIGTERM, as an operator does who replaces it."""
    worker = random.choice(service.workers)
    worker.stop()
    worker.start()


def kill_api(service: Service, random: Random) -> None:
    """Kill the API."""
    _kill(service.api, random)


def kill_broker(service: Service, random: Random) -> None:
    """Kill the broker; it keeps its queue on disk."""
    _kill(service.broker, random)


def empty_broker(service: Service, random: Random) -> None:
    """Have the broker forget everything."""
    del random
    with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
        connection.connect(str(service.broker_socket))
        connection.sendall(b"FLUSHALL\r\n")
        connection.recv(16)


def lock_database(service: Service, random: Random) -> None:
    """Let nobody else write to the database."""
    if service.servers is not None:
        with psycopg.connect(service.servers.postgresql.url) as database:
            database.execute("LOCK TABLE jobs IN EXCLUSIVE MODE")
            time.sleep(random.uniform(1, _BEYOND_LEASE_SECONDS))
        return
    with closing(sqlite3.connect(service.database, timeout=60, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        time.sleep(random.uniform(1, _BEYOND_LEASE_SECONDS))
        database.execute("ROLLBACK")


def fill_disk(service: Service, random: Random) -> None:
    """Let nobody write to any file.

    No privileges are needed for it, and no other process of the machine notices: each process is
    told that files may have no more bytes.
    """
    workers = [worker.pid for worker in service.workers]
    pids = [service.api.pid, *workers, *service.nurseries(), *service.runners()]
    before = {pid: _bounded(pid) for pid in pids}
    time.sleep(random.uniform(1, 4))
    for pid, limit in before.items():
        if limit is not None:
            _bound(pid, limit)


def kill_database(service: Service, random: Random) -> None:
    """Kill PostgreSQL, in the middle of whatever transactions there are."""
    assert service.servers is not None, "a file cannot be killed"
    service.servers.postgresql.kill_and_start(after_seconds=random.uniform(0, 2))


def kill_files(service: Service, random: Random) -> None:
    """Kill the S3 store."""
    assert service.servers is not None, "a folder cannot be killed"
    service.servers.seaweedfs.kill_and_start(after_seconds=random.uniform(0, 2))


Strikes: TypeAlias = Mapping[str, Callable[[Service, Random], None]]

STRIKES: Strikes = {
    "runner killed": kill_runner,
    "runner frozen": freeze_runner,
    "nursery killed": kill_nursery,
    "worker killed": kill_worker,
    "worker frozen": freeze_worker,
    "worker stopped": stop_worker,
    "API killed": kill_api,
    "broker killed": kill_broker,
    "broker emptied": empty_broker,
    "database locked": lock_database,
    "disk full": fill_disk,
}
#: Where the service stands on servers.
SERVER_STRIKES: Strikes = {
    **STRIKES,
    "database killed": kill_database,
    "files killed": kill_files,
}


def in_turn(strikes: Strikes, random: Random) -> Iterator[str]:
    """Yield names of strikes without end: all of them in some order, then in another."""
    while True:
        names = list(strikes)
        random.shuffle(names)
        yield from names


def _kill(part: Part, random: Random) -> None:
    part.kill()
    time.sleep(random.uniform(0, 2))
    part.start()


def _signal_runner(service: Service, random: Random, number: int) -> int | None:
    pids = service.busy_runners() or service.runners()
    if not pids:
        return None
    pid = random.choice(pids)
    with suppress(ProcessLookupError):
        os.kill(pid, number)
    return pid


def _bounded(pid: int) -> int | None:
    """Let a process write nothing more; return its former limit, ``None`` when it is gone."""
    with suppress(ProcessLookupError):
        limit, _ = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        _bound(pid, 0)
        return limit
    return None


def _bound(pid: int, limit: int) -> None:
    """Set a process' limit, as far as it has not given that up meanwhile."""
    with suppress(ProcessLookupError):
        _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        if most != resource.RLIM_INFINITY:
            limit = most if limit == resource.RLIM_INFINITY else min(limit, most)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, most))
