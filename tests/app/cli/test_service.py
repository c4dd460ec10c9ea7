import fcntl
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from app.cli import app
from app.jobs.confinement import trial
from app.jobs.confinement.process import Confinement


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def refused(data_dir):
    """Return a function that serves where it cannot, and returns what was said."""

    def serve(**options):
        given = {"data_dir": data_dir, "port": 0, **options}
        arguments = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
        answer = CliRunner().invoke(app, ["serve", *arguments])
        assert answer.exit_code == 1
        assert not (data_dir / "broker").exists()
        return answer.output

    return serve


def test_a_busy_port_is_refused(refused):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        said = refused(port=port)

    rule = "port must be free on 127.0.0.1"
    assert said == f"espalier: {rule}. Received: {port} (Address already in use)\n"


def test_a_folder_that_is_served_already_is_refused(refused, data_dir):
    data_dir.mkdir()
    with (data_dir / "serve.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        said = refused()

    assert said == (
        f"espalier: data-dir must not be in use. Another espalier serves from {data_dir}\n"
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.test"])  # noqa: S104
def test_strangers_are_kept_out_while_there_is_no_key(refused, host):
    assert refused(host=host) == (
        "espalier: host must be a loopback address until there is an API key "
        f"(`espalier keys create TENANT` makes one). Received: {host}\n"
    )


def test_a_port_that_cannot_be_is_refused(refused):
    assert refused(port=70000) == (
        "espalier: port: Input should be less than or equal to 65535. Received: 70000\n"
    )


def test_production_without_confinement_is_refused(refused, monkeypatch):
    monkeypatch.setenv("ESPALIER_PRODUCTION", "1")
    monkeypatch.setattr(trial, "tried", lambda: Confinement(landlock=0, seccomp=True))

    assert refused() == (
        "espalier: in production, uploaded files must be opened where the kernel has seccomp and "
        "Landlock 3 or later (Linux 6.2). Received: no Landlock, seccomp\n"
    )


def test_http_alone_is_refused_where_strangers_are_and_no_key_is(data_dir):
    answer = CliRunner().invoke(app, ["api", "--host=192.0.2.1", f"--data-dir={data_dir}"])

    assert answer.exit_code == 1
    assert "must be a loopback address until there is an API key" in answer.stderr


@pytest.fixture
def started(data_dir):
    """Return a function that starts a command, and waits until it says this."""
    processes = []

    def start(*arguments, until):
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", *arguments, f"--data-dir={data_dir}"],
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        for line in process.stderr:
            if found := re.search(until, line):
                return process, found
        pytest.fail(f"{arguments} ended with {process.wait()}")

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stderr.close()


def test_http_alone_answers_on_the_port_that_it_says(started):
    process, found = started("api", "--port=0", until=r"http://127\.0\.0\.1:\d+")

    answer = httpx2.get(f"{found[0]}/livez")

    assert answer.json() == {"status": "alive"}
    process.terminate()
    assert process.wait() in {0, -signal.SIGTERM}


def test_a_worker_alone_takes_the_place_of_the_command(started):
    process, _ = started("worker", until="runners are confined by")

    assert b"worker.main" in Path(f"/proc/{process.pid}/cmdline").read_bytes()
