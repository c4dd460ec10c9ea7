"""``espalier serve`` as a process, with the real broker and, for speed, a worker that does nothing.

The real worker is in the end-to-end tests.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from app.embedded import _as_environment
from app.settings import Settings

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0

#: Writes down who it is, and, when it is stopped, who is still there.
IDLE_WORKER = """
import os, pathlib, signal, socket, sys

folder = pathlib.Path(os.environ["ESPALIER_DATA_DIR"])

def answers(family, address):
    with socket.socket(family) as connection:
        return connection.connect_ex(address) == 0

def stop(signal, frame):
    broker = answers(socket.AF_UNIX, os.environ["ESPALIER_REDIS_URL"].removeprefix("redis+socket://"))
    port = int((folder / "port").read_text())
    http = answers(socket.AF_INET, ("127.0.0.1", port))
    (folder / "seen").write_text(f"broker={broker} http={http}")
    sys.exit()

signal.signal(signal.SIGTERM, stop)
(folder / "worker.pid").write_text(str(os.getpid()))
while True:
    signal.pause()
"""


def eventually(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A child that nobody has waited for yet is dead all the same.
    return ") Z " not in Path(f"/proc/{pid}/stat").read_text()


@dataclass(frozen=True)
class Service:
    """A running ``espalier serve``."""

    process: subprocess.Popen
    data_dir: Path
    url: str

    @property
    def worker(self) -> int:
        return int((self.data_dir / "worker.pid").read_text())

    @property
    def broker(self) -> int:
        found = subprocess.run(
            ["pgrep", "--full", f"unixsocket:{self.data_dir}"],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
        )
        return int(found.stdout)

    def is_ready(self) -> bool:
        return httpx2.get(f"{self.url}/readyz").is_success


@pytest.fixture
def command(tmp_path):
    """Return a function that starts ``espalier serve`` with the idle worker."""
    stand_in = tmp_path / "packages" / "worker"
    stand_in.mkdir(parents=True)
    (stand_in / "__init__.py").touch()
    (stand_in / "main.py").write_text(IDLE_WORKER)
    environment = {**os.environ, "PYTHONPATH": f"{stand_in.parent}{os.pathsep}{ROOT}"}

    def start(*arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "app.cli", "serve", *arguments],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return start


@pytest.fixture
def serving(command, tmp_path):
    """Return a context in which a service runs on ``tmp_path / "data"``."""

    @contextmanager
    def running():
        data_dir = tmp_path / "our data"
        with command("--port", "0", "--data-dir", str(data_dir)) as process:
            try:
                line = process.stdout.readline()
                url = re.search(r"http://127\.0\.0\.1:\d+", line)
                assert url, line + process.stdout.read()
                (data_dir / "port").write_text(url[0].rpartition(":")[2])
                eventually((data_dir / "worker.pid").exists)
                yield Service(process, data_dir, url[0])
            finally:
                process.terminate()

    return running


@pytest.mark.parametrize(
    "stop",
    [
        pytest.param(lambda process: process.terminate(), id="SIGTERM"),
        pytest.param(lambda process: os.killpg(process.pid, signal.SIGINT), id="Ctrl-C"),
    ],
)
def test_everything_ends_in_order_and_nothing_is_left(serving, stop):
    with serving() as service:
        assert service.is_ready()
        children = service.worker, service.broker

        stop(service.process)

        assert service.process.wait(PATIENCE_SECONDS) == 0
        assert (service.data_dir / "seen").read_text() == "broker=True http=False"
        assert not any(is_alive(child) for child in children)


def test_what_dies_is_started_again(serving):
    with serving() as service:
        worker, broker = service.worker, service.broker

        os.kill(worker, signal.SIGKILL)
        os.kill(broker, signal.SIGKILL)

        eventually(lambda: service.worker != worker)
        eventually(service.is_ready)
        assert is_alive(service.worker)


def test_after_a_kill_the_folder_can_be_served_again(serving):
    with serving() as service:
        worker, broker = service.worker, service.broker
        service.process.kill()

    with serving() as service:
        assert service.is_ready()
        eventually(lambda: not is_alive(worker))
        assert not is_alive(broker)


def test_the_processes_get_the_settings_as_they_are(monkeypatch, tmp_path):
    settings = Settings(data_dir=tmp_path)

    for name, value in _as_environment(settings).items():
        monkeypatch.setenv(name, value)

    assert Settings() == settings
