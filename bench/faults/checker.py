"""Whether anything was lost, done twice, wrong or stuck, by what callers were answered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from bench.faults.history import Accepted, Downloaded, Entry, Listed, Seen, Told, Withdrawn

_FINAL = frozenset({"succeeded", "failed", "cancelled"})

_Kind = TypeVar("_Kind", bound=Entry)


class Fault(Enum):
    """What can have become of a job that should not."""

    LOST = "lost"  #: It was accepted, and is gone, failed, or cancelled though nobody asked.
    DUPLICATED = "duplicated"  #: It was made twice, or came to an end twice.
    WRONG = "wrong"  #: Its file is not the one of an undisturbed run, or not the one it tells of.
    STUCK = "stuck"  #: It never came to an end.


@dataclass(frozen=True)
class Complaint:
    """One job, and what is wrong with it."""

    fault: Fault
    job_id: str
    evidence: str


def complaints(entries: Sequence[Entry], expected: Mapping[str, str]) -> list[Complaint]:
    """Return what is wrong, each job and fault once.

    Args:
        entries: The history.
        expected: SHA-256 of the file by kind of job.
    """
    jobs = {entry.job_id: entry for entry in _of(Accepted, entries)}
    found = [
        *_made_twice(entries),
        *(each for job in jobs.values() for each in _of_job(job, entries, expected)),
    ]
    return list({(each.fault, each.job_id): each for each in found}.values())


def _of(kind: type[_Kind], entries: Iterable[Entry], job_id: str | None = None) -> list[_Kind]:
    return [
        entry
        for entry in entries
        if isinstance(entry, kind)
        and (job_id is None or (not isinstance(entry, Listed) and entry.job_id == job_id))
    ]


def _made_twice(entries: Sequence[Entry]) -> Iterator[Complaint]:
    by_key: dict[str, set[str]] = defaultdict(set)
    for accepted in _of(Accepted, entries):
        by_key[accepted.key].add(accepted.job_id)
    for key, job_ids in by_key.items():
        for job_id in sorted(job_ids)[1:]:
            yield Complaint(Fault.DUPLICATED, job_id, f"{key} made {len(job_ids)} jobs")
    known = {job_id for job_ids in by_key.values() for job_id in job_ids}
    for listed in _of(Listed, entries):
        for job_id in set(listed.job_ids) - known:
            yield Complaint(Fault.DUPLICATED, job_id, "nobody was told of it")
        for job_id in known - set(listed.job_ids):
            yield Complaint(Fault.LOST, job_id, "it is not in the list")


def _of_job(
    job: Accepted, entries: Sequence[Entry], expected: Mapping[str, str]
) -> Iterator[Complaint]:
    seen = _of(Seen, entries, job.job_id)
    ends = [each for each in seen if each.status in _FINAL]
    if not ends:
        last = seen[-1].status if seen else "never seen"
        yield Complaint(Fault.STUCK, job.job_id, last)
        return
    if len({(end.status, end.finished_at, end.told_sha256) for end in ends}) > 1:
        yield Complaint(Fault.DUPLICATED, job.job_id, "it was seen to end in two ways")
    if seen[-1].status not in _FINAL:
        yield Complaint(Fault.DUPLICATED, job.job_id, f"it was {seen[-1].status} after its end")
    was_withdrawn = bool(_of(Withdrawn, entries, job.job_id))
    match ends[-1].status:
        case "succeeded":
            yield from _of_files(job, ends[-1], entries, expected[job.kind])
        case "cancelled" if was_withdrawn:
            pass
        case status:
            yield Complaint(Fault.LOST, job.job_id, f"{status} {ends[-1].failure or ''}")
    for told in _of(Told, entries, job.job_id):
        yield from _of_events(told)


def _of_files(
    job: Accepted, end: Seen, entries: Sequence[Entry], expected: str
) -> Iterator[Complaint]:
    downloads = _of(Downloaded, entries, job.job_id)
    if not downloads:
        yield Complaint(Fault.LOST, job.job_id, "its file could not be downloaded")
    for sha256 in {end.told_sha256, *(download.sha256 for download in downloads)}:
        if sha256 != expected:
            yield Complaint(Fault.WRONG, job.job_id, f"{sha256} instead of {expected}")


def _of_events(told: Told) -> Iterator[Complaint]:
    if told.numbers != tuple(range(1, len(told.numbers) + 1)):
        yield Complaint(Fault.LOST, told.job_id, f"events {told.numbers}")
    ends = [status for status in told.statuses if status in _FINAL]
    if len(ends) != 1 or told.statuses[-1] not in _FINAL:
        yield Complaint(Fault.DUPLICATED, told.job_id, f"it was told to be {told.statuses}")
