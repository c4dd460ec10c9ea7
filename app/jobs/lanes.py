"""Lanes: large jobs do not stand in the way of small ones, where an operator wants that.

Each has a queue of its own, and a worker takes the jobs of one of them, or of both.
"""

from __future__ import annotations

from enum import StrEnum

from app.jobs.job import Job


class Lane(StrEnum):
    """How large a job is, by the files that it works on."""

    SMALL = "small"
    LARGE = "large"


#: Those of a worker that takes whatever comes.
EVERY_LANE = frozenset(Lane)


def lane_of(job: Job, *, large_from: int) -> Lane:
    """Return the lane of a job.

    Args:
        job: Its model and data count, as they were uploaded.
        large_from: Bytes from which on it is large.
    """
    data = 0 if job.dataset is None else job.dataset.bytes
    return Lane.LARGE if job.model.bytes + data >= large_from else Lane.SMALL
