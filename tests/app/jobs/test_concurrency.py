"""Many threads and processes on one SQLite file."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from app.jobs.database import create_engine
from app.jobs.job import Notice
from app.jobs.store import Store
from app.jobs.submissions import Idempotency

THREADS = 8


@pytest.fixture
def at_once():
    """Call a function from many threads that all start together; return what it returned."""

    def run(function):
        barrier = Barrier(THREADS)

        def wait_and_call(number):
            barrier.wait()
            return function(number)

        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(wait_and_call, range(THREADS)))

    return run


def test_of_many_workers_one_gets_the_job(store, caller, at_once, lease):
    for _ in range(5):
        job_id = caller.submit().id

        claims = at_once(lambda n, job_id=job_id: store.claim(job_id, worker=f"{n}", lease=lease))

        assert len([claim for claim in claims if claim is not None]) == 1


def test_of_many_workers_one_gets_an_abandoned_job(store, caller, clock, at_once, lease):
    job_id = caller.claimed().job.id
    clock.advance(lease.total_seconds() + 1)

    claims = at_once(lambda n: store.claim(job_id, worker=f"{n}", lease=lease))

    assert [claim.fence for claim in claims if claim is not None] == [2]


def test_of_many_writes_none_is_lost(store, mine, caller, at_once):
    claim = caller.claimed()

    def warn_often(number):
        for turn in range(25):
            store.record(claim, notices=[Notice(code=f"{number}/{turn}", message="")])

    at_once(warn_often)

    job, events = store.job(claim.job.id), mine.events(claim.job.id)
    assert len({notice.code for notice in job.warnings}) == THREADS * 25
    assert [event.number for event in events] == list(range(1, THREADS * 25 + 3))


def test_one_key_makes_one_job_however_often_it_is_sent_at_once(mine, caller, at_once):
    jobs = [caller.new_job() for _ in range(THREADS)]
    once = Idempotency(key="order-1", fingerprint="f" * 64)

    submitted = at_once(lambda n: mine.submit(jobs[n], idempotency=once))

    assert len({one.job.id for one in submitted}) == 1
    assert [one.replayed for one in submitted].count(False) == 1
    assert len(mine.jobs(limit=100).jobs) == 1


def test_processes_share_the_database(url, store, caller):
    claim = caller.claimed()
    code = """if True:
        import sys
        from datetime import UTC, datetime
        from app.jobs.claims import Claim
        from app.jobs.database import create_engine
        from app.jobs.job import Notice
        from app.jobs.store import Store

        url, job_id, name = sys.argv[1:]
        store = Store(create_engine(url))
        claim = Claim(job=store.job(job_id), fence=1, attempt=1)
        for turn in range(50):
            store.record(claim, notices=[Notice(code=f"{name}/{turn}", message="")])
    """
    command = [sys.executable, "-c", code, url, claim.job.id]

    writers = [subprocess.Popen([*command, name], stderr=subprocess.PIPE) for name in "ab"]
    complaints = [writer.communicate()[1] for writer in writers]

    assert [writer.returncode for writer in writers] == [0, 0], complaints
    assert len(store.job(claim.job.id).warnings) == 100


def test_two_engines_on_one_file_do_not_deadlock(url, store, caller, clock, at_once):
    """A transaction that reads and then writes would fail where another wrote in between."""
    claim = caller.claimed()
    stores = [Store(create_engine(url), clock=clock) for _ in range(THREADS)]

    def warn(number):
        for turn in range(10):
            stores[number].record(claim, notices=[Notice(code=f"{number}/{turn}", message="")])
        stores[number]._engine.dispose()

    at_once(warn)

    assert len(store.job(claim.job.id).warnings) == THREADS * 10
