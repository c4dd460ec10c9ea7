"""Runners die and callers change their minds; every job ends, and the next one is served."""

import os
import signal
from pathlib import Path

import pytest

from tests.e2e.calls import accepted, ended, training
from tests.e2e.processes import runners

_SHORT = {"training": {"epochs": 2}, "schedule": {"kind": "one_shot", "target_sparsity": 0.5}}
_LONG = {"training": {"epochs": 2000}, "schedule": {"kind": "one_shot", "target_sparsity": 0.5}}
_MIDDLE = {**_SHORT, "training": {"epochs": 20, "batch_size": 32}}

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@pytest.fixture
def submit(client, files):
    """Submit the network of digits with a spec; return the job's id."""
    return lambda spec: accepted(client, files / "digits.keras", files / "digits.npz", spec)["id"]


def test_a_job_whose_runner_is_killed_in_mid_training_ends_and_so_does_the_next(client, submit):
    job_id = submit(_MIDDLE)
    training(client, job_id)

    os.kill(runners()[0], signal.SIGKILL)
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
