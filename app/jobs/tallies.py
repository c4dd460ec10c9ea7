"""What has happened so far, counted in the database: for those who watch the service.

The counts are those of all processes together, whichever is asked, and outlive the jobs. Each row
is one number of one tally; it changes in the transaction that makes what is counted happen.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection

from app.jobs.job import Job, JobStatus
from app.jobs.tables import tallies
from app.jobs.upsert import inserting


class Tally(StrEnum):
    """What is counted; its rows have the labels named here."""

    WAITED = "waited"  #: Seconds in the queue, until a worker came; no label.
    STAGE = "stage"  #: Seconds in a stage; by stage, ``starting`` before the first.
    ENDED = "ended"  #: Jobs; by their last status.
    INTERRUPTED = "interrupted"  #: Attempts whose runner or worker was lost; no label.
    RECEIVED = "received"  #: Bytes of files that were taken; ``model`` or ``dataset``.
    PUBLISHED = "published"  #: Bytes of artifacts; no label.


#: Upper bounds of the buckets that durations are counted in, in seconds; the last has none.
BOUNDS: Final = (0.1, 0.5, 1, 2, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)


@dataclass(frozen=True)
class _Observed:
    tally: Tally
    label: str
    seconds: float

    @property
    def bucket(self) -> int:
        """Position of its bound in ``BOUNDS``; behind them where it is more than all."""
        return bisect.bisect_left(BOUNDS, self.seconds)


def count(connection: Connection, tally: Tally, label: str = "", *, amount: float = 0) -> None:
    """Count one more, of ``amount``."""
    _add(connection, tally, label, bucket=0, amount=amount)


def count_move(
    connection: Connection, before: Job, after: Job, *, since: datetime, at: datetime
) -> None:
    """Count what it means that ``before`` becomes ``after``.

    Args:
        connection: In the transaction that makes it so.
        before: Another status, or another stage, than after.
        after: As it is from now on.
        since: When ``before`` came to where it is.
        at: Now.
    """
    # A clock that was set back measures nothing.
    seconds = max(0.0, (at - since).total_seconds())
    for seen in _observed(before, seconds):
        _add(connection, seen.tally, seen.label, bucket=seen.bucket, amount=seen.seconds)
    if after.status.is_final:
        count(connection, Tally.ENDED, after.status)


def _observed(before: Job, seconds: float) -> Iterator[_Observed]:
    if before.status is JobStatus.QUEUED:
        yield _Observed(Tally.WAITED, "", seconds)
    if before.status is JobStatus.RUNNING:
        stage = "starting" if before.stage is None else before.stage
        yield _Observed(Tally.STAGE, stage, seconds)


def _add(connection: Connection, tally: Tally, label: str, *, bucket: int, amount: float) -> None:
    row = inserting(connection, tallies).values(
        tally=tally, label=label, bucket=bucket, count=1, total=amount
    )
    more = {"count": tallies.c.count + 1, "total": tallies.c.total + amount}
    key = [tallies.c.tally, tallies.c.label, tallies.c.bucket]
    connection.execute(row.on_conflict_do_update(index_elements=key, set_=more))
