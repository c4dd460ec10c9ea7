"""What the endpoints work with; made once, where the process starts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

from fastapi import Depends, Request

from app.jobs.artifacts import ArtifactStore
from app.jobs.intake.run import Checks
from app.jobs.queue import Doorbell
from app.jobs.store import Store


@dataclass(frozen=True, kw_only=True)
class Services:
    """The collaborators of the endpoints, and the operator's limits."""

    store: Store
    files: ArtifactStore
    doorbell: Doorbell
    checks: Checks
    incoming: Path  #: Existing folder where uploads lie until they are accepted.
    max_model_bytes: int
    max_dataset_bytes: int


#: Opens the services when the application starts and closes them when it ends.
OpenServices: TypeAlias = Callable[[], AbstractContextManager[Services]]


def _services_of(request: Request) -> Services:
    return request.state.services


ServicesDep = Annotated[Services, Depends(_services_of)]
