"""``/v1/uploads``: files that come in pieces, by the resumable upload protocol tus, version 1.0.0.

A finished upload becomes a model or a dataset, under the id that it had from its beginning.
Source: https://tus.io/protocols/resumable-upload
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Annotated

from anyio import CancelScope, to_thread
from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send
from typing_extensions import override

from app.api import admission
from app.api.door import CallerDep
from app.api.errors import (
    TUS_VERSION,
    InvalidRequestError,
    RefusedDatasetError,
    UnsupportedContentTypeError,
    UnsupportedProtocolError,
    WrongOffsetError,
    problem_responses,
)
from app.api.forms import ReceivedFile, display_name
from app.api.pieces import CHECKSUM_ALGORITHMS, Checksum, receive_piece
from app.api.services import Services, ServicesDep
from app.jobs.errors import (
    FieldError,
    ModelNotFoundError,
    NotFoundError,
    RefusedFileError,
    TooLargeError,
    UploadNotFoundError,
)
from app.jobs.growing import GrowingFile
from app.jobs.ids import new_id
from app.jobs.job import FileRef
from app.jobs.partial_uploads import PartialUpload
from app.jobs.uploads import StoredDataset, StoredModel, Upload

_EXTENSIONS = "creation,termination,checksum,expiration"
_PIECE = "application/offset+octet-stream"
_LONGEST_METADATA = 4096
_MODEL_ENDINGS = (".keras", ".h5", ".hdf5")


class _TusRoute(APIRoute):
    """A route whose answers, refusals included, name the protocol."""

    @override
    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Tus-Resumable"] = TUS_VERSION
            await send(message)

        await super().handle(scope, receive, send_named)


def _require_protocol(
    _caller: CallerDep,  # Who has no key hears of that first.
    tus_resumable: Annotated[str, Header(description=f"`{TUS_VERSION}`")] = "",
) -> None:
    if tus_resumable != TUS_VERSION:
        raise UnsupportedProtocolError(version=tus_resumable)


_PROTOCOL = Depends(_require_protocol)
_UPLOAD_HEADERS = {
    name: {"schema": {"type": "string"}}
    for name in ("Tus-Resumable", "Upload-Offset", "Upload-Expires")
}

router = APIRouter(prefix="/v1/uploads", tags=["uploads"], route_class=_TusRoute)


@router.options("", status_code=204)
def describe_uploads(services: ServicesDep) -> Response:
    """Say which version and extensions of tus are spoken, and how large a file may be."""
    headers = {
        "Tus-Version": TUS_VERSION,
        "Tus-Extension": _EXTENSIONS,
        "Tus-Max-Size": str(max(services.max_model_bytes, services.max_dataset_bytes)),
        "Tus-Checksum-Algorithm": ",".join(CHECKSUM_ALGORITHMS),
    }
    return Response(status_code=204, headers=headers)


@router.post(
    "",
    status_code=201,
    dependencies=[_PROTOCOL],
    responses={
        201: {"headers": {"Location": {"schema": {"type": "string"}}, **_UPLOAD_HEADERS}},
        **problem_responses(412, 413, 422, 503),
    },
)
def begin_upload(
    services: ServicesDep,
    upload_length: Annotated[int, Header(ge=1, description="Bytes of the whole file")],
    upload_metadata: Annotated[
        str,
        Header(
            max_length=_LONGEST_METADATA,
            description="`filename` and `kind`, `model` or `dataset`, each with its value in "
            "base64; without a kind, the ending of the file's name decides",
        ),
    ] = "",
) -> Response:
    """Announce a file that is sent in pieces, by any client of the tus protocol.

    `Location` is where the pieces go. When the last one has come, the file is the model or dataset
    of the same id: `/v1/uploads/mdl_…` has become `/v1/models/mdl_…`.
    """
    said = _metadata(upload_metadata)
    kind = _kind(said)
    largest = services.max_model_bytes if kind == "model" else services.max_dataset_bytes
    if upload_length > largest:
        message = f"a {kind} must have at most {largest} bytes. Received: {upload_length}"
        raise TooLargeError(message)
    services.files.require_room(upload_length)
    upload = services.store.begin_upload(
        new_id("mdl" if kind == "model" else "dat"),
        kind,
        filename=display_name(said.get("filename", "")),
        count=upload_length,
        metadata=upload_metadata,
    )
    headers = {"Location": f"/v1/uploads/{upload.id}", **_expires(upload.expires_at)}
    return Response(status_code=201, headers=headers)


@router.head("/{upload_id}", include_in_schema=False, dependencies=[_PROTOCOL])
async def show_upload(upload_id: str, services: ServicesDep) -> Response:
    """Say how much of an upload has come."""
    async with _turn(services, upload_id):
        standing = await to_thread.run_sync(_standing, services, upload_id)
    said = {"Upload-Metadata": standing.metadata} if standing.metadata else {}
    return Response(
        headers={
            **standing.headers,
            **said,
            "Upload-Length": str(standing.bytes),
            "Cache-Control": "no-store",
        }
    )


@router.patch(
    "/{upload_id}",
    status_code=204,
    dependencies=[_PROTOCOL],
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {_PIECE: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
    responses={
        204: {"headers": _UPLOAD_HEADERS},
        **problem_responses(400, 404, 408, 409, 412, 413, 415, 422, 423, 460, 503),
    },
)
async def send_piece(
    upload_id: str,
    request: Request,
    services: ServicesDep,
    upload_offset: Annotated[int, Header(ge=0, description="Where the piece begins")],
    upload_checksum: Annotated[
        str | None,
        Header(description="`sha1`, `sha256` or `sha512`, a space, and the digest in base64"),
    ] = None,
) -> Response:
    """Send a piece of a file, from where the last one ended.

    With the last piece the file is looked at: when it cannot be taken, the answer says why, and
    the upload is gone. A piece that is cut off counts as far as it came, but for one with a digest
    or checksum, which counts whole or not at all.
    """
    _require_piece(request)
    checksum = None if upload_checksum is None else Checksum.parsed(upload_checksum)
    async with _turn(services, upload_id):
        standing = await to_thread.run_sync(_standing, services, upload_id)
        if not standing.is_finished:
            standing = await _go_on(services, upload_id, request, upload_offset, checksum)
        elif upload_offset != standing.offset:
            raise WrongOffsetError(received=upload_offset, expected=standing.offset)
    return Response(status_code=204, headers=standing.headers)


@router.delete(
    "/{upload_id}",
    status_code=204,
    dependencies=[_PROTOCOL],
    responses=problem_responses(404, 412, 503),
)
async def withdraw_upload(upload_id: str, services: ServicesDep) -> None:
    """Remove what has come of a file that is not whole."""
    async with _turn(services, upload_id):
        await to_thread.run_sync(_forget, services, upload_id)


@dataclass(frozen=True)
class _Standing:
    """How far an upload is."""

    bytes: int
    offset: int
    expires_at: datetime | None  #: ``None`` once it has become what it was sent to be.
    metadata: str = ""

    @property
    def is_finished(self) -> bool:
        return self.offset == self.bytes

    @property
    def headers(self) -> dict[str, str]:
        expires = {} if self.expires_at is None else _expires(self.expires_at)
        return {"Upload-Offset": str(self.offset), **expires}

    @classmethod
    def of(cls, upload: PartialUpload, size: int) -> _Standing:
        return cls(upload.bytes, upload.reached(size), upload.expires_at, upload.metadata)


def _expires(moment: datetime) -> dict[str, str]:
    return {"Upload-Expires": format_datetime(moment, usegmt=True)}


def _standing(services: Services, upload_id: str) -> _Standing:
    try:
        upload = services.store.upload(upload_id)
    except UploadNotFoundError:
        became = _became(services, upload_id)
        return _Standing(became.bytes, became.bytes, None)
    return _Standing.of(upload, services.files.grown(upload.key))


def _became(services: Services, upload_id: str) -> FileRef:
    """Return the model or dataset that an upload has become.

    Raises:
        UploadNotFoundError: there is none.
    """
    try:
        return services.store.model(upload_id).ref
    except ModelNotFoundError:
        pass
    try:
        return services.store.dataset(upload_id).ref
    except NotFoundError as error:
        message = f"there is no upload {upload_id!r:.80}; it may have expired"
        raise UploadNotFoundError(message) from error


@asynccontextmanager
async def _turn(services: Services, upload_id: str) -> AsyncGenerator[None]:
    """Work on an upload alone.

    Raises:
        UploadNotFoundError: the caller has none of this id: nobody else's request is ended.
    """
    await to_thread.run_sync(_standing, services, upload_id)
    async with services.turns.taken(upload_id):
        yield


@asynccontextmanager
async def _opened(services: Services, upload: PartialUpload) -> AsyncGenerator[GrowingFile]:
    file = await to_thread.run_sync(services.files.growing, upload.key)
    try:
        yield file
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(file.close)


async def _go_on(
    services: Services,
    upload_id: str,
    request: Request,
    offset: int,
    checksum: Checksum | None,
) -> _Standing:
    upload = await to_thread.run_sync(services.store.go_on_with_upload, upload_id)
    async with _opened(services, upload) as file:
        expected = upload.reached(file.size)
        if offset != expected:
            raise WrongOffsetError(received=offset, expected=expected)
        await to_thread.run_sync(_require_room, services, request, upload.bytes - offset)
        await to_thread.run_sync(file.cut, offset)
        await receive_piece(request, file, max_bytes=upload.bytes - offset, checksum=checksum)
        if file.size < upload.bytes:
            return _Standing.of(upload, file.size)
        await to_thread.run_sync(_accept, services, upload, file)
        return _Standing(upload.bytes, upload.bytes, None)


def _require_room(services: Services, request: Request, missing: int) -> None:
    """Refuse by the declared length, before the client has sent anything."""
    declared = int(request.headers.get("content-length", "0"))
    if declared > missing:
        message = f"a piece must have at most the {missing} bytes missing. Received: {declared}"
        raise TooLargeError(message)
    services.files.require_room(declared)


def _accept(services: Services, upload: PartialUpload, file: GrowingFile) -> None:
    """Make a model or a dataset of a whole file, or forget it because it can be neither."""
    with file.path.open("rb") as whole:
        digest = hashlib.file_digest(whole, "sha256").hexdigest()
    received = ReceivedFile(file.path, upload.filename, upload.bytes, digest)
    try:
        stored = _described(services, upload, received)
    except (RefusedFileError, RefusedDatasetError):
        _forget(services, upload.id)
        raise
    with ExitStack() as undo:
        services.files.rename(upload.key, stored.key)
        undo.callback(services.files.rename, stored.key, upload.key)
        services.store.finish_upload(upload.id, stored)
        undo.pop_all()


def _described(
    services: Services, upload: PartialUpload, received: ReceivedFile
) -> StoredModel | StoredDataset:
    if upload.kind == "model":
        return admission.describe_model(services, received, file_id=upload.id)
    return admission.describe_dataset(services, received, file_id=upload.id)


def _forget(services: Services, upload_id: str) -> None:
    services.files.delete(services.store.delete_upload(upload_id))


def _require_piece(request: Request) -> None:
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != _PIECE:
        message = f"Content-Type must be {_PIECE}. Received: {content_type!r:.200}"
        raise UnsupportedContentTypeError(message)


def _metadata(value: str) -> dict[str, str]:
    """Read ``Upload-Metadata``: names, each with its value in base64 or none, between commas."""
    said: dict[str, str] = {}
    for pair in filter(None, (pair.strip() for pair in value.split(","))):
        name, _, encoded = pair.partition(" ")
        try:
            said[name] = base64.b64decode(encoded, validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError) as error:
            message = (
                "Upload-Metadata must be names, each with a text in base64, between commas. "
                f"Received: {pair!r:.200}"
            )
            raise InvalidRequestError(FieldError("/upload-metadata", message)) from error
    return said


def _kind(said: dict[str, str]) -> Upload:
    match said.get("kind"):
        case "model":
            return "model"
        case "dataset":
            return "dataset"
        case None if "filename" in said:
            is_model = said["filename"].lower().endswith(_MODEL_ENDINGS)
            return "model" if is_model else "dataset"
        case other:
            message = f"Upload-Metadata must name a kind, model or dataset. Received: {other!r:.80}"
            raise InvalidRequestError(FieldError("/upload-metadata", message))
