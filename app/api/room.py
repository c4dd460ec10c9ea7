"""Whether there is room for what is about to be sent; found out before a byte of it is read."""

from __future__ import annotations

from fastapi import Depends, Request

from app.api.forms import FORM_OVERHEAD_BYTES
from app.api.services import ServicesDep


def _require_room_for_files(request: Request, services: ServicesDep) -> None:
    _require_room(request, services, more_jobs=0)


def _require_room_for_job(request: Request, services: ServicesDep) -> None:
    _require_room(request, services, more_jobs=1)


#: For ``dependencies=`` of an endpoint that stores files.
ROOM_FOR_FILES = Depends(_require_room_for_files)
#: For ``dependencies=`` of an endpoint that stores a job, and perhaps files.
ROOM_FOR_JOB = Depends(_require_room_for_job)


def _require_room(request: Request, services: ServicesDep, *, more_jobs: int) -> None:
    sent = _least_bytes(request)
    services.store.require_room(more_bytes=sent, more_jobs=more_jobs)
    # For a moment there are two of each file: where it came in, and where it is kept.
    services.files.require_room(2 * sent)


def _least_bytes(request: Request) -> int:
    """Return what the files of the body have at least, by its declared length; 0 without one."""
    return max(0, int(request.headers.get("content-length", "0")) - FORM_OVERHEAD_BYTES)
