"""What there is, and what has been counted."""

from datetime import timedelta

import pytest

from app.jobs.census import Counted, Standing
from app.jobs.confinement.process import Confinement
from app.jobs.devices import Device
from app.jobs.job import Failure, JobStatus, Stage
from app.jobs.lanes import Lane
from app.jobs.tallies import BOUNDS, Tally
from app.jobs.workers import Workers

FAILURE = Failure(code="training_diverged", message="The loss is NaN.", hint="Learn slower.")
GPU = Device(id="GPU-1", name="NVIDIA L4", used_bytes=2**30, total_bytes=24 * 2**30)


@pytest.fixture
def counted(store):
    """Return the rows of a tally, by label and bucket."""

    def of(tally):
        rows = (row for row in store.census().counted if row.tally is tally)
        return {(row.label, row.bucket): (row.count, row.total) for row in rows}

    return of


def bucket(seconds):
    """Return the first bucket that a duration fits into, found by looking at each."""
    return next(
        (at for at, bound in enumerate(BOUNDS) if seconds <= bound),
        len(BOUNDS),
    )


def test_jobs_that_have_not_ended_are_counted_by_status_and_lane(store, mine, caller, clock):
    caller.submit()
    clock.advance(40)
    caller.submit()
    mine.submit(caller.new_job(), lane=Lane.LARGE)
    mine.request_pause(caller.submit().id)
    store.fail(caller.claimed(), FAILURE)

    small = {"lane": Lane.SMALL, "longest": timedelta()}
    assert set(store.census().unfinished) == {
        Standing(status=JobStatus.QUEUED, lane=Lane.SMALL, jobs=2, longest=timedelta(seconds=40)),
        Standing(status=JobStatus.QUEUED, lane=Lane.LARGE, jobs=1, longest=timedelta()),
        Standing(status=JobStatus.PAUSED, jobs=1, **small),
    }


def test_the_time_in_the_queue_and_in_each_stage_is_counted_when_it_is_over(
    store, caller, clock, counted, lease, result
):
    job = caller.submit()
    clock.advance(20)
    claim = store.claim(job.id, worker="w", lease=lease)
    clock.advance(0.4)
    store.record(claim, stage=Stage.BASELINE)
    clock.advance(3)
    store.record(claim, stage=Stage.FINE_TUNING)
    clock.advance(100_000)
    store.succeed(claim, result, [])

    assert counted(Tally.WAITED) == {("", bucket(20)): (1, 20.0)}
    assert counted(Tally.STAGE) == {
        ("starting", bucket(0.4)): (1, 0.4),
        ("baseline", bucket(3)): (1, 3.0),
        ("fine_tuning", len(BOUNDS)): (1, 100_000.0),
    }
    assert counted(Tally.ENDED) == {("succeeded", 0): (1, 0.0)}


def test_what_is_only_reported_on_is_no_move(store, caller, progress, counted):
    claim = caller.claimed()

    for _ in range(3):
        store.record(claim, progress=progress)

    assert counted(Tally.STAGE) == {}


def test_a_clock_that_is_set_back_measures_nothing(store, caller, clock, counted, lease):
    job = caller.submit()
    clock.advance(-60)

    store.claim(job.id, worker="w", lease=lease)

    assert counted(Tally.WAITED) == {("", 0): (1, 0.0)}


def test_counts_outlive_the_jobs(store, mine, caller, counted):
    claim = caller.claimed()
    store.fail(claim, FAILURE)

    mine.delete_job(claim.job.id)

    assert counted(Tally.ENDED) == {("failed", 0): (1, 0.0)}


def test_attempts_that_nobody_ended_are_counted(store, caller, counted, clock, lease):
    claim = caller.claimed()
    store.hand_back(claim, "It died.")
    again = store.claim(claim.job.id, worker="w", lease=lease)
    clock.advance(lease.total_seconds() + 1)
    third = store.claim(again.job.id, worker="w", lease=lease)
    store.release(third)

    assert counted(Tally.INTERRUPTED) == {("", 0): (2, 0.0)}


def test_bytes_are_counted_as_they_come_in_and_when_they_are_published(
    store, caller, counted, result, artifact
):
    claim = caller.claimed(dataset=caller.add_dataset().ref)
    caller.add_model()
    store.succeed(claim, result, [artifact(claim)])

    assert counted(Tally.RECEIVED) == {("model", 0): (2, 200.0), ("dataset", 0): (1, 100.0)}
    assert counted(Tally.PUBLISHED) == {("", 0): (1, 5e9)}


def test_what_was_rolled_back_is_not_counted(store, caller, counted, mine, result, artifact):
    claim = caller.claimed()
    mine.request_cancel(claim.job.id)
    store.cancelled(claim)
    before = counted(Tally.ENDED)

    with pytest.raises(Exception, match="does not hold any more"):
        store.succeed(claim, result, [artifact(claim)])

    assert counted(Tally.ENDED) == before == {("cancelled", 0): (1, 0.0)}
    assert counted(Tally.PUBLISHED) == {}


def test_workers_are_there_with_their_devices_until_they_were_silent(store, engine, clock):
    confined = Confinement(landlock=7, seccomp=True)
    workers = Workers(engine, clock=clock)
    workers.here("1@gpu", confined, lease=timedelta(minutes=1), devices=[GPU])
    workers.here("2@cpu", confined, lease=timedelta(minutes=5))

    seen = {worker.name: worker.devices for worker in store.census().workers}
    clock.advance(61)
    later = [worker.name for worker in store.census().workers]

    assert seen == {"1@gpu": (GPU,), "2@cpu": ()}
    assert later == ["2@cpu"]


def test_a_count_is_one_row_however_often_it_rises(store, caller):
    for _ in range(3):
        store.fail(caller.claimed(), FAILURE)

    assert (
        store.census().counted.count(
            Counted(tally=Tally.ENDED, label="failed", bucket=0, count=3, total=0.0)
        )
        == 1
    )
