"""``/v1/jobs/{id}/artifacts``: the files of a finished job."""

from __future__ import annotations

import base64
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse
from pydantic import BaseModel

from app.api.encodings import preferred
from app.api.errors import problem_responses
from app.api.ranges import ByteRange, requested_range
from app.api.services import Services, ServicesDep
from app.api.views import ArtifactView
from app.jobs.artifacts import StoredArtifact
from app.jobs.errors import DamagedFileError
from app.jobs.formats import SUFFIXES
from app.jobs.result import Compressed

router = APIRouter(prefix="/v1/jobs", tags=["artifacts"])

_MEDIA_TYPE = "application/octet-stream"
_BINARY = {_MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}


class _Conditions(BaseModel):
    """Which bytes, in which form, and only if what; RFC 9110, sections 12 to 14."""

    accept_encoding: str = ""
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
        307: {"description": "Where the file is for some minutes, if the operator wants that"},
        304: {"description": "The file is the one that `If-None-Match` names"},
        **problem_responses(404, 416, 500, 503),
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
    interrupted download goes on with `Range`. Where the file becomes smaller, who accepts `xz`,
    `zstd` or `gzip` gets it compressed, as `Content-Encoding` says, unless `Range` asks for a part.
    `xz` is the smallest, and what `xz -d` unpacks.
    """
    artifact = services.store.artifact(job_id, name)
    encoded = None if conditions.range else _encoded(services, job_id, artifact, conditions)
    sent = _sent(artifact, encoded)
    headers = _headers(sent)
    if encoded is not None:
        headers["Content-Encoding"] = encoded.encoding
    if _names(conditions.if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    headers["Content-Disposition"] = f'attachment; filename="{artifact.name}"'
    if request.method == "HEAD":
        whole = {**headers, "Content-Length": str(sent.bytes)}
        return Response(headers=whole, media_type=_MEDIA_TYPE)
    # A range of another version of the file would not fit what the client has: it gets it whole.
    still_fits = conditions.if_range in {None, headers["ETag"]}
    wanted = requested_range(conditions.range, size=artifact.bytes) if still_fits else None
    link = None if encoded is not None else _link(services, job_id, sent)
    if link is not None:
        return RedirectResponse(link, status_code=307, headers=headers)
    part = wanted or ByteRange(0, sent.bytes)
    chunks = _read(services, job_id, sent, part)
    headers["Content-Length"] = str(part.end - part.start)
    if wanted is not None:
        headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{sent.bytes}"
    return StreamingResponse(
        chunks,
        status_code=200 if wanted is None else 206,
        headers=headers,
        media_type=_MEDIA_TYPE,
    )


def _encoded(
    services: Services, job_id: str, artifact: StoredArtifact, conditions: _Conditions
) -> Compressed | None:
    result = services.store.job(job_id).result
    results = () if result is None else result.artifacts
    offered = next((each.compressed for each in results if each.name == artifact.name), ())
    return preferred(conditions.accept_encoding, offered)


def _sent(artifact: StoredArtifact, encoded: Compressed | None) -> StoredArtifact:
    """Return the file as it is sent."""
    if encoded is None:
        return artifact
    key = artifact.key + SUFFIXES[encoded.encoding]
    return artifact.model_copy(
        update={"key": key, "bytes": encoded.bytes, "sha256": encoded.sha256}
    )


def _headers(artifact: StoredArtifact) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(artifact.sha256)).decode()
    return {
        "ETag": f'"{artifact.sha256}"',
        "Repr-Digest": f"sha-256=:{digest}:",
        "Accept-Ranges": "bytes",
        "Vary": "Accept-Encoding",
        # Asked for again each time, because a job can be deleted; answered by a 304.
        "Cache-Control": "private, no-cache",
    }


def _names(if_none_match: str, etag: str) -> bool:
    """Whether an ``If-None-Match`` header names ``etag``, by the weak comparison it asks for."""
    tags = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return any(tag in {"*", etag} for tag in tags)


def _link(services: Services, job_id: str, artifact: StoredArtifact) -> str | None:
    with _damage_noted(services, job_id):
        return services.files.link(artifact.key, sha256=artifact.sha256)


def _read(
    services: Services, job_id: str, artifact: StoredArtifact, part: ByteRange
) -> Iterator[bytes]:
    with _damage_noted(services, job_id):
        return services.files.stream(
            artifact.key, sha256=artifact.sha256, start=part.start, end=part.end
        )


@contextmanager
def _damage_noted(services: Services, job_id: str) -> Generator[None]:
    try:
        yield
    except DamagedFileError:
        services.store.note_damage(job_id)
        raise
