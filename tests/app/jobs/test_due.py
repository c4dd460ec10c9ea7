"""Which jobs a worker is told of."""

from datetime import timedelta

import pytest

from app.jobs.lanes import Lane

MINUTE = timedelta(minutes=1)


def test_a_queued_job_is_due_until_somebody_was_told(store, caller):
    job = caller.submit()
    assert store.due(Lane.SMALL, unrung_for=MINUTE, most=10) == [job.id]

    store.rang(job.id)

    assert store.due(Lane.SMALL, unrung_for=MINUTE, most=10) == []


def test_a_job_that_still_waits_is_due_again(store, caller, clock):
    job = caller.submit()
    store.rang(job.id)
    clock.advance(61)

    assert store.due(Lane.SMALL, unrung_for=MINUTE, most=10) == [job.id]


def test_a_running_job_is_due_once_its_lease_has_run_out(store, caller, clock, lease):
    claim = caller.claimed()
    assert store.due(Lane.SMALL, unrung_for=MINUTE, most=10) == []

    clock.advance(lease.total_seconds() + 1)

    assert store.due(Lane.SMALL, unrung_for=MINUTE, most=10) == [claim.job.id]


@pytest.mark.parametrize(
    "give_up",
    [
        pytest.param(lambda store, claim: store.hand_back(claim, "It died."), id="hand back"),
        pytest.param(lambda store, claim: store.release(claim), id="release"),
    ],
)
def test_a_job_that_was_given_up_is_due_at_once(store, caller, give_up):
    claim = caller.claimed()
    store.rang(claim.job.id)

    give_up(store, claim)

    assert store.due(Lane.SMALL, unrung_for=MINUTE, most=10) == [claim.job.id]


def test_a_cancelled_job_is_not_due(store, mine, caller):
    mine.request_cancel(caller.submit().id)

    assert store.due(Lane.SMALL, unrung_for=MINUTE, most=10) == []


def test_the_oldest_job_is_due_first(store, caller):
    jobs = [caller.submit().id for _ in range(5)]

    assert store.due(Lane.SMALL, unrung_for=MINUTE, most=10) == jobs
