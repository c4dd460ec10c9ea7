"""``/livez`` and ``/readyz``: for the operator's probes."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter

from app.api.backends import Backends, BackendsDep
from app.api.errors import NotReadyError, problem_responses
from app.api.views import Alive, Ready
from app.jobs.confinement.process import Confinement
from app.jobs.errors import ArtifactNotFoundError, BackendUnavailableError

router = APIRouter(tags=["operations"])

_NO_WORKER = "No worker has been seen of late: jobs wait."
_UNCONFINED = (
    "Uploaded models are opened without all of the kernel's protection (see `confinement`): take "
    "them only from people you trust."
)


@router.get("/livez")
def is_alive() -> Alive:
    """Whether the process answers at all."""
    return Alive()


@router.get("/readyz", responses=problem_responses(503))
def is_ready(backends: BackendsDep) -> Ready:
    """Whether jobs can be taken and workers woken; a 503 names in `checks` what is away."""
    reachable = {
        "database": backends.store.is_reachable(),
        "files": _has_files(backends),
        "redis": backends.doorbell.is_reachable(),
    }
    checks = {name: "ok" if is_reachable else "away" for name, is_reachable in reachable.items()}
    if not all(reachable.values()):
        raise NotReadyError(checks)
    confinement = backends.workers.confinement()
    return Ready(checks=checks, confinement=confinement, notes=tuple(_notes(confinement)))


def _notes(confinement: Confinement | None) -> Iterator[str]:
    if confinement is None:
        yield _NO_WORKER
    elif not confinement.is_complete:
        yield _UNCONFINED


def _has_files(backends: Backends) -> bool:
    try:
        backends.files.size("readyz")
    except ArtifactNotFoundError:
        return True
    except BackendUnavailableError:
        return False
    return True
