import threading

import pytest

from espalier import (
    Client,
    DamagedDownloadError,
    JobCancelledError,
    JobFailedError,
    RefusedError,
    StillRunningError,
)
from tests.espalier.cable import Cable

LARGE = bytes(range(256)) * 4000


@pytest.fixture
def job(served, client):
    """A queued job."""
    return client.job(served.queue())


@pytest.fixture
def cable(served):
    with Cable(served.address) as cable:
        yield cable


@pytest.fixture
def far(cable, job):
    """The same job, at the other end of a cable."""
    with Client(cable.address) as client:
        yield client.job(job.id)


@pytest.fixture
def later():
    """Return a function that calls another one in a moment, beside the test."""
    timers = []

    def call(act, *arguments):
        timers.append(threading.Timer(0.3, act, arguments))
        timers[-1].start()

    yield call
    for timer in timers:
        timer.join()


def test_waiting_ends_with_the_result(served, job, later):
    later(served.succeed, job.id)

    assert job.wait().result.pruned["accuracy"] == 0.99


def test_waiting_for_a_job_that_fails_raises_why(served, job, later):
    later(served.fail, job.id)

    with pytest.raises(JobFailedError, match=r"It died\. Try again\.") as caught:
        job.wait()

    assert caught.value.state.failure.code == "runner_died"


def test_waiting_for_a_job_that_somebody_cancels_raises(served, job, later):
    later(served.cancel, job.id)

    with pytest.raises(JobCancelledError, match=job.id):
        job.wait()


def test_who_waits_no_longer_leaves_the_job_alone(job):
    with pytest.raises(StillRunningError):
        job.wait(timeout_seconds=0.0)

    assert job.refresh().status == "queued"


def test_events_come_once_and_in_order_over_a_connection_that_breaks(served, far, cable, later):
    served.train(far.id)
    # In the middle of a line, at the next one's beginning, and before the answer has begun.
    cable.break_after(900, 700, 0)
    later(served.succeed, far.id)

    events = list(far.events())

    assert [event.id for event in events] == list(range(1, len(events) + 1))
    assert events[-1].data["status"] == "succeeded"
    assert cable.has_broken


def test_the_events_of_a_job_that_has_ended_come_to_an_end(served, job):
    served.succeed(job.id)
    events = list(job.events())

    assert list(job.events(after=events[-1].id)) == []


def test_moments_begin_with_now_and_not_with_the_past(served, job, later):
    served.train(job.id)
    later(served.succeed, job.id)

    moments = list(job.moments())

    assert moments[0].state.progress.step == 3
    assert moments[0].loss == pytest.approx(1 / 3)
    assert moments[-1].state.result.sparsity == 0.9


def test_cancelling_twice_is_cancelling(job):
    assert job.cancel().status == "cancelled"
    assert job.cancel().status == "cancelled"


def test_a_job_is_paused_and_goes_on(job):
    assert job.pause().status == "paused"
    assert job.pause().status == "paused"
    assert job.resume().status == "queued"


def test_a_job_that_succeeded_cannot_be_cancelled(served, job):
    served.succeed(job.id)

    with pytest.raises(RefusedError) as caught:
        job.cancel()

    assert caught.value.code == "job_conflict"


def test_a_download_is_taken_up_where_it_broke(served, far, cable, tmp_path):
    served.succeed(far.id, LARGE)
    names = [artifact.name for artifact in far.artifacts()]
    before = cable.answered
    cable.break_after(len(LARGE) // 2, len(LARGE) // 4)

    (path,) = far.download(tmp_path, name=names[0])

    assert path.read_bytes() == LARGE
    assert cable.has_broken
    assert cable.answered - before < 1.1 * len(LARGE)


def test_a_download_replaces_a_file_and_leaves_nothing_else(served, job, tmp_path):
    served.succeed(job.id, LARGE)
    folder = tmp_path / "new"
    job.download(folder)
    (folder / "model.keras").write_bytes(b"something else")

    job.download(folder)

    assert (folder / "model.keras").read_bytes() == LARGE
    assert [path.name for path in folder.iterdir()] == ["model.keras"]


def test_a_download_that_is_damaged_on_its_way_is_thrown_away(served, far, cable, tmp_path):
    served.succeed(far.id, b"as it was stored")
    cable.spoil(b"as it was stored", b"as it was spoilt")

    with pytest.raises(DamagedDownloadError, match=r"model\.keras must have the digest"):
        far.download(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_deleted_job_is_gone(served, job):
    served.fail(job.id)

    job.delete()

    with pytest.raises(RefusedError):
        job.refresh()
