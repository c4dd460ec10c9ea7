"""Runners die and callers change their minds; every job ends as if nothing had been."""

import json
import os
import signal
from pathlib import Path

import pytest

from bench.faults.callers import Caller, Kind
from bench.faults.checker import complaints
from bench.faults.history import History
from tests.e2e.calls import accepted, ended, paused, training
from tests.e2e.processes import runners, running

_SHORT = {"training": {"epochs": 2}, "schedule": {"kind": "one_shot", "target_sparsity": 0.5}}
_LONG = {"training": {"epochs": 2000}, "schedule": {"kind": "one_shot", "target_sparsity": 0.5}}
#: Long enough to be struck in mid-training.
_MIDDLE = {**_SHORT, "training": {"epochs": 60, "batch_size": 32}}

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@pytest.fixture
def submit(client, files):
    """Submit the network of digits with a spec; return the job's id."""
    return lambda spec: accepted(client, files / "digits.keras", files / "digits.npz", spec)["id"]


@pytest.fixture(scope="module")
def undisturbed(client, files):
    """SHA-256 of what a job comes to that nobody disturbs."""
    job = accepted(client, files / "digits.keras", files / "digits.npz", _MIDDLE)
    return sha256(ended(client, job["id"]))


def sha256(job):
    assert job["status"] == "succeeded", job
    return job["result"]["artifacts"][0]["sha256"]


def test_a_paused_job_frees_its_worker_and_goes_on_to_the_same_file(client, submit, undisturbed):
    job_id = submit(_MIDDLE)
    training(client, job_id)

    client.post(f"/v1/jobs/{job_id}/pause").raise_for_status()
    aside = paused(client, job_id)
    other = ended(client, submit(_SHORT))
    client.post(f"/v1/jobs/{job_id}/resume").raise_for_status()

    assert aside["progress"]["step"] > 0
    assert other["status"] == "succeeded"
    job = ended(client, job_id)
    assert sha256(job) == undisturbed
    assert job["warnings"] == []


def test_a_job_whose_runner_is_killed_in_mid_training_ends_and_so_does_the_next(
    client, submit, undisturbed
):
    job_id = submit(_MIDDLE)
    training(client, job_id)

    os.kill(runners()[0], signal.SIGKILL)
    next_id = submit(_SHORT)

    job = ended(client, job_id)
    assert sha256(job) == undisturbed
    assert [notice["code"] for notice in job["warnings"]] == ["tried_again"]
    assert ended(client, next_id)["status"] == "succeeded"


def test_what_callers_see_has_neither_gap_nor_repetition_whichever_process_is_killed(
    address, client, files, undisturbed
):
    history = History()
    caller = Caller(address, history)
    uploads = {"model": files / "digits.keras", "data": files / "digits.npz"}
    kind = Kind(name="digits", files=uploads, spec=json.dumps(_MIDDLE))

    job_ids = [caller.submit(kind, f"struck {number}") for number in range(2)]
    for process in ("valkey", "runner", "worker.nursery", "worker.main"):
        training(client, job_ids[0])
        found = runners() if process == "runner" else running(process)
        os.kill(found[0], signal.SIGKILL)
    for job_id in job_ids:
        ended(client, job_id)
        caller.look(job_id)
        caller.read_events(job_id)

    caller.close()
    assert complaints(history.entries, {"digits": undisturbed}) == []


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
