"""What happened to a job, as a numbered list that a caller can follow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, JsonValue

from app.jobs.job import Job, Progress


class EventKind(StrEnum):
    """What an event tells; its ``data`` has the shape named here."""

    STATUS = "status"  #: ``{"status", "failure"}``; the last event of a job is one of these.
    STAGE = "stage"  #: ``{"stage"}``
    WARNING = "warning"  #: ``{"code", "message"}``
    PROGRESS = "progress"  #: The fields of ``Progress``; ``layers`` only where they have changed.
    EPOCH = "epoch"  #: One row of the history by epoch: ``{"epoch", "loss", …}``.


class Event(BaseModel):
    """One thing that happened to a job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int  #: Counted from 1 for each job, over all attempts, without a gap.
    at: datetime
    kind: EventKind
    data: Mapping[str, JsonValue]


Told = tuple[EventKind, Mapping[str, JsonValue]]


def changes(before: Job | None, after: Job) -> Iterator[Told]:
    """Yield what has to be told when ``before`` becomes ``after``; ``None`` for a new job.

    Every change of a job is told by comparing the two records, so that none can be forgotten.
    """
    if before is None or before.status is not after.status:
        failure = after.failure and after.failure.model_dump(mode="json")
        yield EventKind.STATUS, {"status": after.status.value, "failure": failure}
    if after.stage is not None and (before is None or before.stage is not after.stage):
        yield EventKind.STAGE, {"stage": after.stage.value}
    known = () if before is None else before.warnings
    for notice in after.warnings[len(known) :]:
        yield EventKind.WARNING, notice.model_dump(mode="json")
    if after.progress is not None and (before is None or before.progress != after.progress):
        yield EventKind.PROGRESS, _progress(before and before.progress, after.progress)


def _progress(before: Progress | None, after: Progress) -> Mapping[str, JsonValue]:
    known = () if before is None else before.layers
    # Layers change with a mask update only, and there can be hundreds.
    return after.model_dump(mode="json", exclude={"layers"} if after.layers == known else None)
