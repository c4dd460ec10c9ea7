"""How long a job's work may take, and how much memory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What the operator allows every job."""

    lease: timedelta  #: How long a claim holds without a heartbeat.
    silence: timedelta  #: Longest time without a report or a byte written.
    job: timedelta  #: Longest time that a job is worked on, over all of its attempts.
    memory_bytes: int  #: Most that a runner may hold.
    checkpoint: timedelta  #: From one checkpoint of a training to the next; the least it can lose.
