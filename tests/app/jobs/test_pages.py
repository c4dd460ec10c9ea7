import base64
from datetime import UTC, datetime

import pytest

from app.jobs.errors import InvalidCursorError, JobNotFoundError
from app.jobs.job import JobStatus
from app.jobs.pages import Cursor


def all_pages(mine, **options):
    jobs, after = [], None
    while True:
        page = mine.jobs(after=after, **options)
        jobs.extend(page.jobs)
        after = page.next_cursor
        if after is None:
            return jobs


def test_no_jobs_are_one_empty_page(mine):
    page = mine.jobs(limit=10)

    assert (page.jobs, page.next_cursor) == ((), None)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_pages_hold_every_job_once_newest_first(mine, caller, limit):
    jobs = [caller.submit() for _ in range(7)]

    assert all_pages(mine, limit=limit) == jobs[::-1]


def test_jobs_of_the_same_moment_are_all_listed(mine, caller):
    moment = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
    ids = {caller.submit(created_at=moment).id for _ in range(5)}

    assert {job.id for job in all_pages(mine, limit=2)} == ids


def test_a_page_goes_on_where_a_deleted_job_was(mine, caller):
    oldest, middle, _ = (caller.submit() for _ in range(3))
    cursor = mine.jobs(limit=2).next_cursor
    mine.request_cancel(middle.id)
    mine.delete_job(middle.id)

    assert mine.jobs(limit=2, after=cursor).jobs == (oldest,)


def test_only_jobs_of_the_status_are_listed(mine, caller):
    queued = caller.submit()
    caller.claimed()

    assert mine.jobs(limit=10, status=JobStatus.QUEUED).jobs == (queued,)
    assert mine.jobs(limit=10, status=JobStatus.PAUSED).jobs == ()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("x", id="no base64"),
        pytest.param("é", id="not ASCII"),
        pytest.param(base64.urlsafe_b64encode(b"yesterday job_1").decode(), id="no time"),
        pytest.param(base64.urlsafe_b64encode(b"2026-11-22T12:00:00").decode(), id="no id"),
        pytest.param(Cursor(datetime.now(UTC), "job_1").encoded() + "!!!!", id="and more"),
    ],
)
def test_a_cursor_that_no_page_gave_is_refused(mine, text):
    with pytest.raises(InvalidCursorError, match="must be one that a page gave"):
        mine.jobs(limit=1, after=text)


def test_a_job_that_never_was_is_not_found(store):
    with pytest.raises(JobNotFoundError, match="there is no job 'job_none'"):
        store.job("job_none")
