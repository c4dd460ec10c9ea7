"""``/livez`` and ``/readyz``: for the operator's probes."""

from __future__ import annotations

from fastapi import APIRouter

from app.api.errors import NotReadyError, problem_responses
from app.api.services import Services, ServicesDep
from app.api.views import Alive, Ready
from app.jobs.errors import ArtifactNotFoundError, BackendUnavailableError

router = APIRouter(tags=["operations"])

_NOTES = ("runner: not confined yet, so take models only from people you trust",)


@router.get("/livez")
def is_alive() -> Alive:
    """Whether the process answers at all."""
    return Alive()


@router.get("/readyz", responses=problem_responses(503))
def is_ready(services: ServicesDep) -> Ready:
    """Whether jobs can be taken and workers woken; a 503 names in `checks` what is away."""
    reachable = {
        "database": services.store.is_reachable(),
        "files": _has_files(services),
        "redis": services.doorbell.is_reachable(),
    }
    checks = {name: "ok" if is_reachable else "away" for name, is_reachable in reachable.items()}
    if not all(reachable.values()):
        raise NotReadyError(checks)
    return Ready(checks=checks, notes=_NOTES)


def _has_files(services: Services) -> bool:
    try:
        services.files.size("readyz")
    except ArtifactNotFoundError:
        return True
    except BackendUnavailableError:
        return False
    return True
