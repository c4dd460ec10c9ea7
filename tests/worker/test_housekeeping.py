import os
import time
from datetime import timedelta

import pytest

from app.jobs.job import JobStatus
from worker.housekeeping import Housekeeper


@pytest.fixture
def housekeeper(house):
    work = house.folder / "work"
    work.mkdir()
    return Housekeeper(house.store, house.artifacts, work=work, uploads_kept=timedelta(days=1))


@pytest.fixture
def leave(house):
    """Leave a file behind, as old as the test wants it."""

    def leave(name, *, hours):
        path = house.folder / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"left")
        then = time.time() - 3600 * hours
        os.utime(path, (then, then))
        return path

    return leave


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("models/mdl_gone/model.keras", id="an upload without its row"),
        pytest.param("jobs/job_gone/1/model.keras", id="of a job that is gone"),
        pytest.param("models/mdl_gone/model.keras#1", id="half written"),
    ],
)
def test_what_a_crash_left_is_swept_when_nobody_can_be_writing_it(housekeeper, leave, name):
    old, new = leave(name, hours=1.1), leave(name.replace("gone", "new"), hours=0.9)

    housekeeper.tidy()

    assert (old.exists(), new.exists()) == (False, True)


def test_what_is_needed_is_not_swept(house, housekeeper, leave, samples):
    job = house.submit(dataset=samples)
    for upload in (house.store.model(job.model.id), house.store.dataset(job.dataset.id)):
        leave(upload.key, hours=1000)
    checkpoint = leave(f"jobs/{job.id}/checkpoints/1-5", hours=1000)

    housekeeper.tidy()

    assert house.artifacts.size(house.store.model(job.model.id).key) == 4
    assert house.artifacts.size(house.store.dataset(job.dataset.id).key) == 4
    assert checkpoint.exists()


def test_between_two_sweeps_is_an_hour(housekeeper, leave):
    housekeeper.tidy()
    left = leave("models/mdl_gone/model.keras", hours=2)

    housekeeper.tidy()

    assert left.exists()


def test_files_go_with_the_job_whose_time_is_over(house, housekeeper, leave, monkeypatch):
    job = house.submit('{"retention_seconds": 60}')
    file = leave(f"jobs/{job.id}/1/model.keras", hours=0)
    assert house.caller.request_cancel(job.id).status is JobStatus.CANCELLED
    clock = house.store._clock
    monkeypatch.setattr(
        house.store, "_clock", lambda connection: clock(connection) + timedelta(minutes=2)
    )

    housekeeper.tidy()

    assert not file.exists()
