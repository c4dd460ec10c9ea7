"""Many threads and processes on one database."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import select, text, update

from app.jobs.audit import Action, latest
from app.jobs.database import create_engine, writing
from app.jobs.errors import JobQuotaError, StorageQuotaError
from app.jobs.job import Failure, JobStatus, Notice
from app.jobs.lanes import EVERY_LANE
from app.jobs.quotas import Quota
from app.jobs.rows import Origin, insert_job
from app.jobs.shelf import MODELS
from app.jobs.spec import JobSpec, Webhook
from app.jobs.store import Store
from app.jobs.submissions import Idempotency
from app.jobs.tables import jobs
from app.jobs.tallies import Tally
from app.jobs.tenants import LOCAL, anybodys
from app.jobs.tenants import Caller as Tenant
from app.jobs.webhooks import Webhooks
from tests.app.jobs.conftest import Caller

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


def test_workers_that_ask_at_once_each_get_a_job_of_their_own(store, at_once, lease):
    of_tenants = [Caller(store, store.of(Tenant(name, key_id=None))) for name in ("a", "b")]
    jobs = {maker.submit().id for maker in of_tenants for _ in range(THREADS // 2)}

    claims = at_once(lambda n: store.claim_next(EVERY_LANE, worker=f"{n}", lease=lease))

    assert sorted(claim.job.id for claim in claims) == sorted(jobs)


@pytest.fixture
def locked(engine):
    """Return what holds a job as who is about to claim it does, on PostgreSQL; gives the lock."""
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite lets in one writer at a time")

    @contextmanager
    def locked(job_id):
        with engine.begin() as connection:
            connection.execute(select(jobs.c.id).where(jobs.c.id == job_id).with_for_update())
            yield connection

    return locked


def test_a_job_that_somebody_is_about_to_claim_is_passed_over(store, caller, locked, lease):
    first, second = caller.submit(), caller.submit()

    with locked(first.id):
        claim = store.claim_next(EVERY_LANE, worker="w", lease=lease)

    assert claim.job.id == second.id
    assert store.claim_next(EVERY_LANE, worker="w", lease=lease).job.id == first.id


@pytest.mark.parametrize("is_claimed", [True, False])
def test_the_last_job_that_somebody_is_about_to_claim_is_waited_for(
    store, caller, locked, lease, is_claimed
):
    job = caller.submit()

    with ThreadPoolExecutor(1) as pool:
        with locked(job.id) as other:
            asked = pool.submit(store.claim_next, EVERY_LANE, worker="w", lease=lease)
            with pytest.raises(TimeoutError):
                asked.result(0.5)
            if is_claimed:
                other.execute(update(jobs).values(status=JobStatus.SUCCEEDED))
        claim = asked.result(30)

    assert (claim is None) == is_claimed


def test_of_many_counts_none_is_lost(store, caller, at_once):
    claims = [caller.claimed() for _ in range(THREADS)]
    failure = Failure(code="c", message="m", hint="h")

    at_once(lambda n: store.fail(claims[n], failure))

    ended = [row for row in store.census().counted if row.tally is Tally.ENDED]
    assert [(row.label, row.count) for row in ended] == [("failed", THREADS)]


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


def test_of_many_uploads_as_many_are_kept_as_there_is_room_for(store, at_once):
    three_models = Quota(stored_bytes=300, unfinished_jobs=1)
    caller = Caller(store, store.of(LOCAL, quota=three_models))

    def add(_number):
        try:
            caller.add_model()
        except StorageQuotaError:
            return 0
        return 1

    assert sum(at_once(add)) == 3


def test_of_many_submissions_as_many_are_accepted_as_a_tenant_may_have(store, mine, at_once):
    two_jobs = Quota(stored_bytes=10_000, unfinished_jobs=2)
    caller = Caller(store, store.of(LOCAL, quota=two_jobs))
    jobs = [caller.new_job() for _ in range(THREADS)]

    def submit(number):
        try:
            caller.mine.submit(jobs[number])
        except JobQuotaError:
            return 0
        return 1

    assert sum(at_once(submit)) == len(mine.jobs(limit=100).jobs) == 2


def test_a_tenant_has_one_secret_however_many_ask_first(mine, at_once):
    assert len(set(at_once(lambda _: mine.webhook_secret()))) == 1


def test_many_couriers_take_each_message_once(engine, store, caller, at_once):
    webhook = Webhook(url="https://example.com/told")
    for _ in range(5):
        claim = caller.claimed(spec=JobSpec(webhook=webhook))
        store.fail(claim, Failure(code="c", message="m", hint="h"))

    taken = at_once(lambda _: Webhooks(engine).take_due(most=2))

    messages = [delivery.id for each in taken for delivery, _ in each]
    assert len(messages) == len(set(messages)) <= 5


def test_what_has_expired_goes_once_however_many_tidy_up(engine, store, caller, clock, at_once):
    for _ in range(5):
        claim = caller.claimed(spec=JobSpec(retention_seconds=60))
        store.fail(claim, Failure(code="c", message="m", hint="h"))
    clock.advance(61)

    at_once(lambda _: store.forget_expired(uploads_kept=None))

    expired = [row for row in latest(engine, count=100) if row.action == Action.JOB_EXPIRED]
    assert len(expired) == 5


@pytest.mark.parametrize(
    "forget",
    [
        pytest.param(lambda _, mine, first: mine.delete_job(first), id="with the first job"),
        pytest.param(
            lambda store, *_: store.forget_expired(uploads_kept=timedelta(0)),
            id="because it is old",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
def test_what_a_job_is_being_submitted_for_stays(engine, store, mine, caller, clock, forget):
    """On SQLite nobody can write between the two steps of a submission."""
    first = caller.claimed()
    store.fail(first, Failure(code="c", message="m", hint="h"))
    model = caller.add_model(uploaded_with=first.job.id)
    second = caller.new_job(model=model.ref)
    clock.advance(10)

    with ThreadPoolExecutor(1) as other:
        with writing(engine) as submission:
            MODELS.hold(submission, model.ref.id, anybodys)
            insert_job(submission, second, Origin(tenant="local"), at=clock.now)
            forgetting = other.submit(forget, store, mine, first.job.id)
            _wait_until_blocked(engine, forgetting)
        forgetting.result()

    assert store.model(model.ref.id).ref == model.ref


def _wait_until_blocked(engine, call):
    """Return when somebody waits for a row that we hold, or needs not to."""
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    while not call.done():
        with engine.connect() as connection:
            if connection.scalar(waiting):
                return
        time.sleep(0.01)


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
