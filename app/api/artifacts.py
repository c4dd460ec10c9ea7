"""``/v1/jobs/{id}/artifacts``: the files of a finished job."""

from __future__ import annotations

import base64
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from app.api.errors import problem_responses
from app.api.ranges import ByteRange, requested_range
from app.api.services import Services, ServicesDep
from app.api.views import ArtifactView
from app.jobs.artifacts import StoredArtifact

router = APIRouter(prefix="/v1/jobs", tags=["artifacts"])

_MEDIA_TYPE = "application/octet-stream"
_BINARY = {_MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}


class _Conditions(BaseModel):
    """Which bytes, and only if what; RFC 9110, sections 13 and 14."""

    if_none_match: str = ""
    range: str = ""
    if_range: str | None = None


@router.get("/{job_id}/artifacts", responses=problem_responses(404, 503))
def list_artifacts(job_id: str, services: ServicesDep) -> list[ArtifactView]:
    """List the files of a job; empty until it has succeeded."""
    return [
        ArtifactView(
            name=artifact.name,
            format=artifact.format,
            bytes=artifact.bytes,
            sha256=artifact.sha256,
            url=f"/v1/jobs/{job_id}/artifacts/{artifact.name}",
        )
        for artifact in services.store.artifacts(job_id)
    ]


@router.head("/{job_id}/artifacts/{name}", include_in_schema=False)
@router.get(
    "/{job_id}/artifacts/{name}",
    response_class=Response,
    responses={
        200: {"description": "The file", "content": _BINARY},
        206: {"description": "The part of it that `Range` asked for", "content": _BINARY},
        304: {"description": "The file is the one that `If-None-Match` names"},
        **problem_responses(404, 416, 503),
    },
)
def download_artifact(
    request: Request,
    job_id: str,
    name: str,
    services: ServicesDep,
    conditions: Annotated[_Conditions, Header()],
) -> Response:
    """Download a file.

    Its `ETag` is its SHA-256, `Repr-Digest` states the same in the form of RFC 9530, and an
    interrupted download goes on with `Range`.
    """
    artifact = services.store.artifact(job_id, name)
    headers = _headers(artifact)
    if _names(conditions.if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    headers["Content-Disposition"] = f'attachment; filename="{artifact.name}"'
    if request.method == "HEAD":
        whole = {**headers, "Content-Length": str(artifact.bytes)}
        return Response(headers=whole, media_type=_MEDIA_TYPE)
    # A range of another version of the file would not fit what the client has: it gets it whole.
    still_fits = conditions.if_range in {None, headers["ETag"]}
    wanted = requested_range(conditions.range, size=artifact.bytes) if still_fits else None
    return _bytes(services, artifact, wanted, headers)


def _headers(artifact: StoredArtifact) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(artifact.sha256)).decode()
    return {
        "ETag": f'"{artifact.sha256}"',
        "Repr-Digest": f"sha-256=:{digest}:",
        "Accept-Ranges": "bytes",
        # Asked for again each time, because a job can be deleted; answered by a 304.
        "Cache-Control": "private, no-cache",
    }


def _names(if_none_match: str, etag: str) -> bool:
    """Whether an ``If-None-Match`` header names ``etag``, by the weak comparison it asks for."""
    tags = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return any(tag in {"*", etag} for tag in tags)


def _bytes(
    services: Services,
    artifact: StoredArtifact,
    wanted: ByteRange | None,
    headers: dict[str, str],
) -> Response:
    part = wanted or ByteRange(0, artifact.bytes)
    headers = {**headers, "Content-Length": str(part.end - part.start)}
    if wanted is not None:
        headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{artifact.bytes}"
    return StreamingResponse(
        services.files.stream(artifact.key, part.start, part.end),
        status_code=200 if wanted is None else 206,
        headers=headers,
        media_type=_MEDIA_TYPE,
    )
