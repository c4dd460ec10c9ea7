from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.jobs.errors import JobConflictError
from app.jobs.job import FileRef, Job, JobStatus, Notice
from app.jobs.spec import JobSpec

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
LATER = datetime(2026, 11, 22, 13, tzinfo=UTC)
FINAL = {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED}

statuses = st.sampled_from(JobStatus)


def a_job(status=JobStatus.QUEUED):
    model = FileRef(id="mdl_1", filename="model.keras", bytes=1, sha256="a" * 64)
    return Job(id="job_1", status=status, created_at=NOON, model=model, spec=JobSpec())


def after(job, moves):
    """Return the job after those of the moves that its status allows."""
    for status in moves:
        try:
            job = job.moved_to(status, at=LATER)
        except JobConflictError:
            continue
    return job


@settings(deadline=None)
@given(statuses, statuses)
def test_a_move_is_made_or_changes_nothing(before, status):
    assert after(a_job(before), [status]).status in {before, status}


def test_a_refused_move_names_both_statuses():
    job = a_job(JobStatus.CANCELLED)

    with pytest.raises(JobConflictError, match="a cancelled job cannot become running"):
        job.moved_to(JobStatus.RUNNING, at=LATER)


@settings(deadline=None)
@given(st.sampled_from(sorted(FINAL)), st.lists(statuses))
def test_a_final_job_stays_as_it_is(status, moves):
    job = a_job(status)

    assert after(job, moves) == job


@settings(deadline=None)
@given(st.lists(statuses))
def test_finished_at_is_set_exactly_when_the_job_is_final(moves):
    job = after(a_job(), moves)

    assert (job.finished_at is not None) == (job.status in FINAL)


@settings(deadline=None)
@given(st.lists(statuses))
def test_a_job_succeeds_only_after_it_has_been_running(moves):
    job = after(a_job(), moves)

    assert job.status is not JobStatus.SUCCEEDED or job.started_at is not None


@pytest.mark.parametrize("status", JobStatus)
def test_only_the_last_three_are_final(status):
    assert status.is_final == (status in FINAL)


def test_a_second_start_keeps_the_time_of_the_first():
    started = a_job().moved_to(JobStatus.RUNNING, at=NOON)

    again = started.moved_to(JobStatus.QUEUED, at=LATER).moved_to(JobStatus.RUNNING, at=LATER)

    assert again.started_at == NOON


def test_a_warning_is_not_repeated():
    first, second = Notice(code="a", message="one"), Notice(code="a", message="two")

    job = a_job().warned(first, first).warned(second, first)

    assert job.warnings == (first, second)
