"""Whose job is next."""

import pytest

from app.jobs.job import JobStatus
from app.jobs.lanes import EVERY_LANE, Lane
from app.jobs.spec import JobSpec
from app.jobs.tenants import Caller as Identity
from tests.app.jobs.conftest import Caller


@pytest.fixture
def of_tenant(store):
    """Return what makes jobs for a tenant."""
    return lambda name: Caller(store, store.of(Identity(name, key_id=None)))


@pytest.fixture
def serve(store, lease):
    """Claim whatever is next, and return its id, if there is one."""

    def serve(lanes=EVERY_LANE):
        claim = store.claim_next(lanes, worker="w", lease=lease)
        return None if claim is None else claim.job.id

    return serve


def test_nothing_is_next_where_nothing_waits(caller, serve):
    caller.claimed()

    assert serve() is None


def test_a_tenant_with_many_jobs_does_not_starve_one_with_a_single_job(of_tenant, serve):
    busy, modest = of_tenant("busy"), of_tenant("modest")
    of_busy = [busy.submit().id for _ in range(20)]
    first = serve()
    single = modest.submit().id

    served = [first, serve(), serve()]

    assert served == [of_busy[0], single, of_busy[1]]


def test_tenants_are_served_in_turn(of_tenant, serve):
    jobs = {of_tenant(name).submit().id: name for name in ("a", "b", "c") for _ in range(3)}

    served = [jobs[serve()] for _ in range(9)]

    assert served == ["a", "b", "c"] * 3


def test_a_job_that_was_handed_back_has_had_its_turn(store, of_tenant, serve, lease):
    interrupted = of_tenant("a").submit()
    claim = store.claim(interrupted.id, worker="w", lease=lease)
    store.release(claim)
    waiting = of_tenant("b").submit()

    assert serve() == waiting.id


def test_a_job_whose_worker_is_silent_goes_before_those_that_have_not_begun(
    caller, clock, serve, lease
):
    abandoned = caller.claimed()
    caller.submit()
    clock.advance(lease.total_seconds() + 1)

    assert serve() == abandoned.job.id


def test_of_the_jobs_of_one_tenant_the_urgent_go_first_and_then_the_oldest(caller, serve):
    old, young = caller.submit(), caller.submit()
    urgent = caller.submit(spec=JobSpec(priority=5))
    whenever = caller.submit(spec=JobSpec(priority=-5))

    assert [serve() for _ in range(4)] == [urgent.id, old.id, young.id, whenever.id]


def test_priorities_of_one_tenant_are_nothing_to_another(of_tenant, serve):
    first = of_tenant("a").submit()
    [of_tenant("b").submit(spec=JobSpec(priority=10)) for _ in range(3)]

    assert first.id in {serve(), serve()}


def test_a_worker_takes_the_jobs_of_its_lanes_only(caller, mine, serve):
    small = mine.submit(caller.new_job(), lane=Lane.SMALL).job
    large = mine.submit(caller.new_job(), lane=Lane.LARGE).job
    other = mine.submit(caller.new_job(), lane=Lane.SMALL).job

    assert serve({Lane.LARGE}) == large.id
    assert serve({Lane.LARGE}) is None
    assert serve({Lane.SMALL}) == small.id
    assert serve(EVERY_LANE) == other.id


@pytest.mark.parametrize("end", ["request_cancel", "request_pause"])
def test_what_does_not_wait_is_not_next(mine, caller, serve, end):
    getattr(mine, end)(caller.submit().id)

    assert serve() is None


def test_a_job_of_a_version_that_knew_no_turns_is_served(store, engine, caller, serve):
    job = caller.submit()
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE jobs SET since = NULL")

    assert serve() == job.id
    assert store.job(job.id).status is JobStatus.RUNNING
