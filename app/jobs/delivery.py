"""A message to a job's webhook, and what became of telling it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

#: Waits after the first try, the second, and so on; then it is given up.
#: Source: Standard Webhooks, "Deliverability and reliability".
WAITS: Final = tuple(
    timedelta(seconds=seconds)
    for seconds in (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DeliveryStatus(StrEnum):
    """Where a message stands."""

    PENDING = "pending"  #: It will be sent, or sent again.
    DELIVERED = "delivered"  #: The receiver answered with a 2xx.
    GIVEN_UP = "given_up"  #: It was tried often enough, or the receiver is gone (410).


class Attempt(_Record):
    """One try to deliver a message."""

    at: datetime
    status: int | None  #: Of the answer; ``None`` where there was none.
    error: str | None  #: Why there was none.

    @property
    def has_arrived(self) -> bool:
        """Whether the receiver took it."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004 - 2xx


class Delivery(_Record):
    """One message to one receiver; its id is the same each time it is sent."""

    id: str
    job_id: str
    url: str
    type: str  #: ``job.succeeded``, ``job.failed``, ``job.cancelled``.
    created_at: datetime
    status: DeliveryStatus
    attempts: tuple[Attempt, ...]
    next_attempt_at: datetime | None  #: ``None`` when there is nothing more to try.

    @property
    def body(self) -> str:
        """The JSON that is sent, to the letter the same each time."""
        message = {
            "type": self.type,
            "timestamp": self.created_at.isoformat(),
            "data": {"job_id": self.job_id, "status": self.type.removeprefix("job.")},
        }
        return json.dumps(message)

    def after(self, attempt: Attempt) -> Delivery:
        """Return the message after one more try."""
        attempts = (*self.attempts, attempt)
        status, wait = DeliveryStatus.PENDING, None
        if attempt.has_arrived:
            status = DeliveryStatus.DELIVERED
        elif len(attempts) > len(WAITS) or attempt.status == 410:  # noqa: PLR2004 - Gone
            status = DeliveryStatus.GIVEN_UP
        else:
            wait = WAITS[len(attempts) - 1]
        return self.model_copy(
            update={
                "status": status,
                "attempts": attempts,
                "next_attempt_at": None if wait is None else attempt.at + wait,
            }
        )
