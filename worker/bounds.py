"""How long a job's work may take, and how much memory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What the operator allows every attempt at a job."""

    lease: timedelta  #: How long a claim holds without a heartbeat.
    silence: timedelta  #: Longest time without a report.
    attempt: timedelta  #: Longest time for one attempt.
    memory_bytes: int  #: Most that a runner may hold.
    checkpoint: timedelta  #: From one checkpoint of a training to the next; the least it can lose.
