"""What the process works with, for all tenants; opened once, where the process starts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

from fastapi import Depends, Request

from app.api.answers import Answers
from app.api.rates import RateLimit
from app.api.turns import Turns
from app.jobs.artifacts import ArtifactStore
from app.jobs.intake.run import Checks
from app.jobs.keys import Keys
from app.jobs.queue import Doorbell
from app.jobs.quotas import Quota
from app.jobs.store import Store
from app.jobs.workers import Workers


@dataclass(frozen=True, kw_only=True)
class Backends:
    """The collaborators of the process, and the operator's limits."""

    store: Store
    answers: Answers  #: Of the store, for who polls.
    workers: Workers
    keys: Keys
    files: ArtifactStore
    doorbell: Doorbell
    checks: Checks
    incoming: Path  #: Existing folder where uploads lie until they are accepted.
    turns: Turns
    max_model_bytes: int
    max_dataset_bytes: int
    large_job_bytes: int  #: Jobs whose files have as many are large.
    quota: Quota
    rate_limit: RateLimit
    allow_private_webhooks: bool
    retention_seconds: int | None  #: The longest that a job is kept; ``None`` for ever.
    metrics_token: str | None  #: What opens ``/metrics``; ``None``: see ``door``.
    sender_silence_seconds: float  #: Who sends nothing of a body for this long is cut off.


#: Opens the backends when the application starts and closes them when it ends.
OpenBackends: TypeAlias = Callable[[], AbstractContextManager[Backends]]


def backends_of(request: Request) -> Backends:
    """Return what the process that serves ``request`` works with.

    Where it is needed for each call, it is called: a dependency costs more than what it does.
    """
    return request.state.backends


BackendsDep = Annotated[Backends, Depends(backends_of)]
