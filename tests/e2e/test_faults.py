"""Runners die and callers change their minds; every job ends, and the next one is served."""

import os
import signal
from pathlib import Path

import pytest

from tests.e2e.calls import accepted, ended, training

_SHORT = {"training": {"epochs": 2}, "schedule": {"kind": "one_shot", "target_sparsity": 0.5}}
_LONG = {"training": {"epochs": 2000}, "schedule": {"kind": "one_shot", "target_sparsity": 0.5}}
_MIDDLE = {**_SHORT, "training": {"epochs": 60, "batch_size": 32}}

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@pytest.fixture
def submit(client, files):
    """Submit the network of digits with a spec; return the job's id."""
    return lambda spec: accepted(client, files / "digits.keras", files / "digits.npz", spec)["id"]


def _stat(pid: int) -> list[str]:
    # The name in parentheses can hold spaces; what follows it cannot.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _started(pid: int) -> int:
    return int(_stat(pid)[19])


def _is_ours(pid: int) -> bool:
    while pid > 1:
        pid = _parent(pid)
        if pid == os.getpid():
            return True
    return False


def _runners() -> list[int]:
    """Return the runners of this test's service, the oldest first: it is the one that trains."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        try:
            if b"worker.runner" in (folder / "cmdline").read_bytes() and _is_ours(pid):
                found.append(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return sorted(found, key=_started)


def test_a_job_whose_runner_is_killed_in_mid_training_ends_and_so_does_the_next(client, submit):
    job_id = submit(_MIDDLE)
    training(client, job_id)

    os.kill(_runners()[0], signal.SIGKILL)
    next_id = submit(_SHORT)

    job = ended(client, job_id)
    assert job["status"] == "succeeded", job
    assert ended(client, next_id)["status"] == "succeeded"


def test_a_job_that_is_cancelled_in_mid_training_stays_cancelled(client, submit):
    job_id = submit(_LONG)
    training(client, job_id)

    answer = client.post(f"/v1/jobs/{job_id}/cancel")

    assert answer.status_code == 202
    assert ended(client, job_id)["status"] == "cancelled"
    assert client.post(f"/v1/jobs/{job_id}/cancel").status_code == 409


def test_a_job_that_is_cancelled_in_the_queue_never_runs(client, submit):
    running = submit(_LONG)
    queued = submit(_SHORT)

    client.post(f"/v1/jobs/{queued}/cancel")
    client.post(f"/v1/jobs/{running}/cancel")

    assert ended(client, running)["status"] == "cancelled"
    job = ended(client, queued)
    assert job["status"] == "cancelled"
    assert job["started_at"] is None
