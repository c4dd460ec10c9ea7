"""What an endpoint works with: everything of one caller, nothing of anybody else.

An endpoint has no other way to the store, so none can forget to ask for a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from app.api.answers import TenantAnswers
from app.api.backends import Backends, backends_of
from app.api.door import CallerDep
from app.api.turns import Turns
from app.jobs.artifacts import ArtifactStore
from app.jobs.intake.run import Checks
from app.jobs.queue import Doorbell
from app.jobs.tenant_store import TenantStore
from app.jobs.tenants import Caller


@dataclass(frozen=True, kw_only=True)
class Services:
    """The collaborators of an endpoint, and the operator's limits."""

    store: TenantStore
    answers: TenantAnswers
    files: ArtifactStore
    doorbell: Doorbell
    checks: Checks
    incoming: Path  #: Existing folder where uploads lie until they are accepted.
    turns: Turns  #: Which request goes on with which upload.
    max_model_bytes: int
    max_dataset_bytes: int
    large_job_bytes: int  #: Jobs whose files have as many are large.
    allow_private_webhooks: bool
    retention_seconds: int | None  #: The longest that a job is kept; ``None`` for ever.


def services_for(backends: Backends, caller: Caller) -> Services:
    """Return what an endpoint works with when ``caller`` calls."""
    return Services(
        store=backends.store.of(caller, quota=backends.quota),
        answers=TenantAnswers(backends.answers, caller.tenant),
        files=backends.files,
        doorbell=backends.doorbell,
        checks=backends.checks,
        incoming=backends.incoming,
        turns=backends.turns,
        max_model_bytes=backends.max_model_bytes,
        max_dataset_bytes=backends.max_dataset_bytes,
        large_job_bytes=backends.large_job_bytes,
        allow_private_webhooks=backends.allow_private_webhooks,
        retention_seconds=backends.retention_seconds,
    )


# Not a plain function, which would take a thread to do nothing but this.
async def _services_of(request: Request, caller: CallerDep) -> Services:
    return services_for(backends_of(request), caller)


ServicesDep = Annotated[Services, Depends(_services_of)]
