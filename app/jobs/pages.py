"""Pages of jobs, newest first."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from app.jobs.errors import InvalidCursorError
from app.jobs.job import Job


@dataclass(frozen=True)
class Page:
    """Some jobs, and how to get the next ones."""

    jobs: tuple[Job, ...]
    next_cursor: str | None  #: ``None`` on the last page.


@dataclass(frozen=True)
class Cursor:
    """A place in the list of jobs: just after this one, whether it still exists or not."""

    created_at: datetime
    job_id: str

    @classmethod
    def after(cls, job: Job) -> Self:
        """Return the place just after ``job``."""
        return cls(job.created_at, job.id)

    def encoded(self) -> str:
        """Return the cursor as callers see it."""
        text = f"{self.created_at.isoformat()} {self.job_id}"
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decoded(cls, text: str) -> Self:
        """Return the cursor that ``encoded`` wrote.

        Raises:
            InvalidCursorError: it did not.
        """
        try:
            padded = text + "=" * (-len(text) % 4)
            created_at, job_id = base64.b64decode(padded, altchars=b"-_").decode().split(" ")
            cursor = cls(datetime.fromisoformat(created_at), job_id)
        except ValueError as error:
            raise _invalid(text) from error
        if cursor.encoded() != text:
            raise _invalid(text)
        return cursor


def _invalid(text: str) -> InvalidCursorError:
    return InvalidCursorError(f"a cursor must be one that a page gave. Received: {text!r:.80}")
