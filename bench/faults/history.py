"""What callers asked, and what was answered: all that the checker knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock


@dataclass(frozen=True)
class Accepted:
    """A submission was answered with a job."""

    key: str  #: Idempotency key of the submission.
    kind: str  #: Which of the kinds of job it is.
    job_id: str


@dataclass(frozen=True)
class Withdrawn:
    """Somebody asked for the job to be cancelled, whatever came of it."""

    job_id: str


@dataclass(frozen=True)
class Seen:
    """The job was shown."""

    job_id: str
    status: str
    finished_at: str | None
    told_sha256: str | None  #: Of its file, as the result says.
    failure: str | None = None  #: Why it failed, as it says itself.


@dataclass(frozen=True)
class Downloaded:
    """Its file was downloaded, whole."""

    job_id: str
    sha256: str  #: Of what came.


@dataclass(frozen=True)
class Told:
    """The list of the job's events was read."""

    job_id: str
    numbers: tuple[int, ...]
    statuses: tuple[str, ...]  #: Those that were told, in order.


@dataclass(frozen=True)
class Listed:
    """The list of all jobs was read, to its end."""

    job_ids: tuple[str, ...]


Entry = Accepted | Withdrawn | Seen | Downloaded | Told | Listed


@dataclass(frozen=True)
class History:
    """Everything, in the order in which it was answered; safe to share between threads."""

    entries: list[Entry] = field(default_factory=list[Entry])
    _lock: Lock = field(default_factory=Lock)

    def add(self, entry: Entry) -> None:
        """Keep what was answered."""
        with self._lock:
            self.entries.append(entry)
