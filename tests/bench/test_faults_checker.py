"""The checker of ``bench.faults``, on histories that are made up."""

import pytest

from bench.faults.checker import Fault, complaints
from bench.faults.history import Accepted, Downloaded, Listed, Seen, Told, Withdrawn

EXPECTED = {"adam": "a" * 64}
ACCEPTED = Accepted("key 1", "adam", "job_1")
RUNNING = Seen("job_1", "running", None, None)
SUCCEEDED = Seen("job_1", "succeeded", "12:00", "a" * 64)
FAILED = Seen("job_1", "failed", "12:00", None)
CANCELLED = Seen("job_1", "cancelled", "12:00", None)
DOWNLOADED = Downloaded("job_1", "a" * 64)
TOLD = Told("job_1", (1, 2, 3), ("queued", "running", "succeeded"))
LISTED = Listed(("job_1",))
WELL = [ACCEPTED, RUNNING, SUCCEEDED, DOWNLOADED, TOLD, LISTED]


def faults(entries):
    return [each.fault for each in complaints(entries, EXPECTED)]


def test_of_a_job_that_went_well_there_is_nothing_to_say():
    assert faults(WELL) == []


def test_a_repeated_submission_may_be_answered_twice():
    assert faults([ACCEPTED, *WELL]) == []


def test_who_asked_for_it_may_find_the_job_cancelled():
    told = Told("job_1", (1, 2), ("queued", "cancelled"))

    assert faults([ACCEPTED, Withdrawn("job_1"), CANCELLED, told, LISTED]) == []


@pytest.mark.parametrize(
    ("fault", "entries"),
    [
        pytest.param(Fault.LOST, [ACCEPTED, FAILED, LISTED], id="failed"),
        pytest.param(Fault.LOST, [ACCEPTED, CANCELLED, LISTED], id="cancelled by nobody"),
        pytest.param(Fault.LOST, [*WELL[:-1], Listed(())], id="not in the list"),
        pytest.param(Fault.LOST, [ACCEPTED, SUCCEEDED, LISTED], id="no file"),
        pytest.param(
            Fault.LOST,
            [*WELL, Told("job_1", (1, 3), ("queued", "succeeded"))],
            id="an event is missing",
        ),
        pytest.param(
            Fault.DUPLICATED,
            [*WELL[:-1], Accepted("key 1", "adam", "job_2"), Listed(("job_1", "job_2"))],
            id="one key, two jobs",
        ),
        pytest.param(
            Fault.DUPLICATED, [*WELL[:-1], Listed(("job_1", "job_2"))], id="a job of nobody"
        ),
        pytest.param(
            Fault.DUPLICATED,
            [*WELL, Seen("job_1", "succeeded", "12:01", "a" * 64)],
            id="ended twice",
        ),
        pytest.param(Fault.DUPLICATED, [*WELL, RUNNING], id="runs after its end"),
        pytest.param(
            Fault.DUPLICATED,
            [*WELL, Told("job_1", (1, 2, 3, 4), ("queued", "succeeded", "running", "succeeded"))],
            id="told to have ended twice",
        ),
        pytest.param(Fault.WRONG, [*WELL, Downloaded("job_1", "b" * 64)], id="another file"),
        pytest.param(Fault.STUCK, [ACCEPTED, RUNNING, LISTED], id="never ends"),
    ],
)
def test_what_should_not_be_is_found(fault, entries):
    assert fault in faults(entries)


def test_a_result_that_tells_of_another_file_is_wrong():
    told = Seen("job_1", "succeeded", "12:00", "b" * 64)

    assert faults([ACCEPTED, told, DOWNLOADED, TOLD, LISTED]) == [Fault.WRONG]
