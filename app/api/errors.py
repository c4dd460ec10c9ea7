"""The one table from what went wrong to what the caller is told (RFC 9457).

RequestError                        the request itself is at fault, whatever the service holds
├── MalformedRequestError           it breaks off, or its framing cannot be read
├── WrongDigestError                its body is not the one that its digest names
├── WrongChecksumError              likewise, of a piece of an upload
├── WrongOffsetError                the piece begins where the upload does not end
├── UnsupportedProtocolError        it speaks another version of tus, or none
├── SilentSenderError               its body stopped coming
├── NoKeyError                      it shows no API key, and needs one
├── TooManyRequestsError            one too many in this minute
├── InvalidRequestError             a part, field or header is unknown, missing or out of its domain
├── UnsupportedContentTypeError     its body is of a kind that the call does not take
├── RangeNotSatisfiableError        no byte of the file lies in the range
└── RefusedDatasetError             the data cannot be taken; the reason is its ``__cause__``
NotReadyError                       the service cannot work now; ``checks`` says what is away
"""

from __future__ import annotations

import logging
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from app.api.methods import allowed_methods
from app.jobs.errors import (
    ArtifactNotFoundError,
    BackendUnavailableError,
    DamagedFileError,
    DatasetNotFoundError,
    FieldError,
    IdempotencyConflictError,
    InUseError,
    InvalidCursorError,
    InvalidKeyError,
    JobConflictError,
    JobError,
    JobNotFoundError,
    JobQuotaError,
    ModelNotFoundError,
    NotFoundError,
    RefusedFileError,
    RefusedSpecError,
    StorageFullError,
    StorageQuotaError,
    TooLargeError,
    UploadBusyError,
    UploadNotFoundError,
)

logger = logging.getLogger(__name__)

#: The version of the protocol of uploads in pieces.
TUS_VERSION: Final = "1.0.0"

_MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER_SECONDS = 5


class RequestError(Exception):
    """Base of what is wrong with a request, whatever the service holds."""


class MalformedRequestError(RequestError):
    """The request breaks off, or its framing cannot be read."""


class WrongDigestError(RequestError):
    """The body is not the one that a digest in the headers is of."""

    def __init__(self, field: str, *, algorithm: str) -> None:
        """Name the field; what the body's digest is, its sender can find out."""
        super().__init__(f"{field} must be the {algorithm} of the body. Received: another body")


class WrongChecksumError(RequestError):
    """The piece is not the one that its checksum is of."""

    def __init__(self, *, algorithm: str) -> None:
        """Name the algorithm; what the piece's digest is, its sender can find out."""
        super().__init__(f"Upload-Checksum must be the {algorithm} of the piece. Received: another")


class WrongOffsetError(RequestError):
    """The piece does not begin where the upload ends so far."""

    def __init__(self, *, received: int, expected: int) -> None:
        """Say where it ends."""
        super().__init__(f"Upload-Offset must be {expected}. Received: {received}")


class UnsupportedProtocolError(RequestError):
    """The request speaks another version of tus, or none."""

    def __init__(self, *, version: str) -> None:
        """Say which one is spoken here."""
        super().__init__(f"Tus-Resumable must be {TUS_VERSION}. Received: {version!r:.80}")


class SilentSenderError(RequestError):
    """The body stopped coming."""

    def __init__(self, *, seconds: float) -> None:
        """Say how long was waited."""
        super().__init__(f"a body must not pause for {seconds:g} seconds. Received: nothing more")


class NoKeyError(RequestError):
    """The request shows no API key, and needs one."""

    def __init__(self) -> None:
        """Say how a key is shown."""
        super().__init__("the request must have the header Authorization: Bearer <key>")


class TooManyRequestsError(RequestError):
    """The tenant has made as many requests in the last minute as it may."""

    def __init__(self, *, per_minute: int, retry_after_seconds: int) -> None:
        """Keep how long to wait, because the answer has to name it."""
        super().__init__(f"a tenant may make {per_minute} requests a minute. Received: one more")
        self.retry_after_seconds = retry_after_seconds


class InvalidRequestError(RequestError):
    """A part, field or header is unknown, missing or out of its domain."""

    def __init__(self, *errors: FieldError) -> None:
        """Keep every fault, so that one answer names them all."""
        super().__init__("; ".join(f"{error.pointer}: {error.message}" for error in errors))
        self.errors = errors


class UnsupportedContentTypeError(RequestError):
    """The body is of a kind that the call does not take."""


class RangeNotSatisfiableError(RequestError):
    """No byte of the file lies in the range that was asked for."""

    def __init__(self, *, size: int) -> None:
        """Keep the size, because the answer has to name it."""
        super().__init__(f"the range must begin within the file. Its size: {size} bytes")
        self.size = size


class RefusedDatasetError(RequestError):
    """The data cannot be taken, for the reason of the ``RefusedFileError`` that it carries."""

    def __init__(self, refusal: RefusedFileError) -> None:
        """Keep the refusal, which says why."""
        super().__init__(str(refusal))
        self.refusal = refusal


class NotReadyError(Exception):
    """The service cannot work now."""

    def __init__(self, checks: Mapping[str, str]) -> None:
        """Keep the checks, those that passed as well."""
        away = ", ".join(name for name, state in checks.items() if state != "ok")
        super().__init__(f"these cannot be reached: {away}")
        self.checks = checks


class FieldProblem(BaseModel):
    """One fault, and where it is."""

    pointer: str = Field(
        description="JSON pointer into the spec; a part, parameter or field outside it by its name",
        examples=["/schedule/final_sparsity"],
    )
    message: str = Field(
        description="The rule, then what was received",
        examples=["final_sparsity must be a fraction in [0, 1). Received: 50"],
    )


class Problem(BaseModel):
    """Why a request was not carried out (RFC 9457)."""

    type: str = Field(description="Identifies the kind of problem; ends with `code`")
    title: str = Field(description="The kind of problem in words, the same for every occurrence")
    status: int = Field(description="The HTTP status")
    detail: str = Field(description="What happened this time")
    code: str = Field(description="Stable identifier to branch on")
    hint: str | None = Field(default=None, description="What to do about it, when there is more")
    errors: list[FieldProblem] | None = Field(default=None, description="Every fault, for a 422")
    checks: dict[str, str] | None = Field(default=None, description="What `/readyz` looked at")


@dataclass(frozen=True)
class _Kind:
    """One kind of problem: what is the same whenever it occurs."""

    status: int
    code: str
    title: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


_RETRY = {"Retry-After": str(_RETRY_AFTER_SECONDS)}
#: A job takes minutes: asking more often than this for one to finish is of no use.
_RETRY_JOB = {"Retry-After": "60"}
#: Somebody has to make room.
_RETRY_ROOM = {"Retry-After": "60"}
#: The piece can be sent again as soon as the sender has asked where the upload ends.
_RETRY_PIECE = {"Retry-After": "0"}
_RETRY_SOON = {"Retry-After": "1"}
#: Of tus, and not registered for HTTP.
_CHECKSUM_MISMATCH = 460
_SHOW_KEY = {"WWW-Authenticate": 'Bearer realm="espalier"'}
_SHOW_OTHER_KEY = {"WWW-Authenticate": 'Bearer realm="espalier", error="invalid_token"'}

_KINDS: dict[type[Exception], _Kind] = {
    MalformedRequestError: _Kind(
        HTTPStatus.BAD_REQUEST, "malformed_request", "The request cannot be read"
    ),
    WrongDigestError: _Kind(
        HTTPStatus.BAD_REQUEST, "wrong_digest", "The body is not the one that was meant"
    ),
    WrongChecksumError: _Kind(
        _CHECKSUM_MISMATCH,
        "wrong_checksum",
        "The piece is not the one that was meant",
        _RETRY_PIECE,
    ),
    WrongOffsetError: _Kind(
        HTTPStatus.CONFLICT, "wrong_offset", "The upload ends elsewhere", _RETRY_PIECE
    ),
    UnsupportedProtocolError: _Kind(
        HTTPStatus.PRECONDITION_FAILED,
        "unsupported_protocol",
        "This version of tus is not spoken here",
        {"Tus-Version": TUS_VERSION},
    ),
    NoKeyError: _Kind(HTTPStatus.UNAUTHORIZED, "key_required", "An API key is needed", _SHOW_KEY),
    InvalidKeyError: _Kind(
        HTTPStatus.UNAUTHORIZED, "invalid_key", "The API key opens nothing", _SHOW_OTHER_KEY
    ),
    JobNotFoundError: _Kind(HTTPStatus.NOT_FOUND, "job_not_found", "There is no such job"),
    ModelNotFoundError: _Kind(HTTPStatus.NOT_FOUND, "model_not_found", "There is no such model"),
    DatasetNotFoundError: _Kind(
        HTTPStatus.NOT_FOUND, "dataset_not_found", "There is no such dataset"
    ),
    ArtifactNotFoundError: _Kind(
        HTTPStatus.NOT_FOUND, "artifact_not_found", "The job has no such artifact"
    ),
    UploadNotFoundError: _Kind(HTTPStatus.NOT_FOUND, "upload_not_found", "There is no such upload"),
    NotFoundError: _Kind(HTTPStatus.NOT_FOUND, "not_found", "There is no such thing"),
    SilentSenderError: _Kind(
        HTTPStatus.REQUEST_TIMEOUT,
        "sender_silent",
        "The body stopped coming",
        # What may come of it after all is not waited for.
        {"Connection": "close"},
    ),
    JobConflictError: _Kind(
        HTTPStatus.CONFLICT, "job_conflict", "The job's status does not allow this"
    ),
    UploadBusyError: _Kind(
        HTTPStatus.LOCKED, "upload_busy", "Another request sends this upload", _RETRY_SOON
    ),
    InUseError: _Kind(HTTPStatus.CONFLICT, "in_use", "An unfinished job still needs it"),
    TooLargeError: _Kind(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", "The upload is too large"
    ),
    StorageQuotaError: _Kind(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "storage_quota_exceeded",
        "The tenant has no room for it",
    ),
    RefusedFileError: _Kind(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "refused_model", "The file cannot be taken as a model"
    ),
    UnsupportedContentTypeError: _Kind(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "unsupported_content_type",
        "The call takes no body of this kind",
    ),
    RangeNotSatisfiableError: _Kind(
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        "range_not_satisfiable",
        "The range lies outside the file",
    ),
    RefusedDatasetError: _Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY, "refused_data", "The file cannot be taken as data"
    ),
    RefusedSpecError: _Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_spec", "The spec cannot be carried out"
    ),
    InvalidRequestError: _Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", "The request is not one of this call"
    ),
    InvalidCursorError: _Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_cursor", "The cursor is not one of a page"
    ),
    IdempotencyConflictError: _Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "idempotency_key_reused",
        "The idempotency key was used for another request",
    ),
    TooManyRequestsError: _Kind(
        HTTPStatus.TOO_MANY_REQUESTS, "too_many_requests", "Too many requests"
    ),
    JobQuotaError: _Kind(
        HTTPStatus.TOO_MANY_REQUESTS,
        "job_quota_exceeded",
        "The tenant has too many unfinished jobs",
        _RETRY_JOB,
    ),
    DamagedFileError: _Kind(
        HTTPStatus.INTERNAL_SERVER_ERROR, "damaged_file", "A stored file is not what it was"
    ),
    StorageFullError: _Kind(
        HTTPStatus.SERVICE_UNAVAILABLE, "storage_full", "The service's disk is full", _RETRY_ROOM
    ),
    BackendUnavailableError: _Kind(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "backend_unavailable",
        "A part of the service cannot be reached",
        _RETRY,
    ),
    NotReadyError: _Kind(
        HTTPStatus.SERVICE_UNAVAILABLE, "not_ready", "The service is not ready", _RETRY
    ),
}
_BUG = _Kind(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "The service has a bug")


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error of ``app`` with problem+json."""
    for base in (JobError, RequestError, NotReadyError, Exception):
        app.add_exception_handler(base, _answer)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_validation)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe problem answers for OpenAPI.

    >>> sorted(problem_responses(404, 409))
    [404, 409]
    """
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": _phrase(status),
            "content": {_MEDIA_TYPE: {"schema": schema}},
        }
        for status in statuses
    }


def _phrase(status: int) -> str:
    return "Checksum Mismatch" if status == _CHECKSUM_MISMATCH else HTTPStatus(status).phrase


async def _answer(  # noqa: PLR0911 - a table: one row for each shape of answer
    _request: Request, error: Exception
) -> JSONResponse:
    kind = next((_KINDS[base] for base in type(error).__mro__ if base in _KINDS), _BUG)
    match error:
        case RefusedSpecError() | InvalidRequestError():
            return _problem(kind, _listed(error.errors), errors=error.errors)
        case RefusedFileError():
            return _problem(kind, error.message, code=error.code, hint=error.hint)
        case RefusedDatasetError(refusal=refusal):
            pointed = FieldError(pointer="/data", message=refusal.message)
            return _problem(
                kind, refusal.message, code=refusal.code, hint=refusal.hint, errors=[pointed]
            )
        case RangeNotSatisfiableError(size=size):
            return _problem(kind, str(error), headers={"Content-Range": f"bytes */{size}"})
        case TooManyRequestsError(retry_after_seconds=seconds):
            return _problem(kind, str(error), headers={"Retry-After": str(seconds)})
        case NotReadyError(checks=checks):
            return _problem(kind, str(error), checks=checks)
        case DamagedFileError():
            logger.error("%s: %s", kind.title, error)
            return _problem(
                kind,
                "The file has changed since it was made, so it is not given out.",
                hint="Submit the job again; the operator has been told.",
            )
        case StorageFullError():
            logger.error("%s: %s", kind.title, error)
            return _problem(
                kind,
                "There is no room for it now, and nothing of it was kept.",
                hint="Try again later; it is for the operator to make room.",
            )
        case _ if kind.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            # Words of a database or of a bug are for the operator: they may hold secrets.
            logger.warning("%s: %s", kind.title, error)
            return _problem(kind, "The service's log has the details")
        case _:
            return _problem(kind, str(error))


async def _answer_http(request: Request, error: Exception) -> JSONResponse:
    """Answer for what the framework refuses by itself: unknown paths, methods, bodies."""
    if not isinstance(error, HTTPException):
        return await _answer(request, error)
    status = HTTPStatus(error.status_code)
    kind = _Kind(status, status.name.lower(), status.phrase)
    detail = f"{request.method} {request.url.path}: {error.detail}"
    headers = error.headers or {}
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": allowed_methods(request)}
    return _problem(kind, detail, headers=headers)


async def _answer_validation(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        return await _answer(request, error)
    faults = [
        FieldError(
            # The first part of a location is where it stands: path, query, header.
            pointer="".join(f"/{part}" for part in fault["loc"][1:]),
            message=f"{fault['msg']}. Received: {reprlib.repr(fault['input'])}",
        )
        for fault in error.errors()
    ]
    return await _answer(request, InvalidRequestError(*faults))


def _listed(errors: Sequence[FieldError]) -> str:
    return "; ".join(f"{error.pointer}: {error.message}" for error in errors)


def _problem(  # noqa: PLR0913 - one parameter a member of the answer
    kind: _Kind,
    detail: str,
    *,
    code: str | None = None,
    hint: str | None = None,
    errors: Sequence[FieldError] | None = None,
    checks: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    code = kind.code if code is None else code
    problem = Problem(
        type=f"urn:espalier:problem:{code}",
        title=kind.title,
        status=kind.status,
        detail=detail,
        code=code,
        hint=hint,
        errors=None if errors is None else [FieldProblem(**asdict(error)) for error in errors],
        checks=None if checks is None else dict(checks),
    )
    return JSONResponse(
        problem.model_dump(exclude_none=True),
        status_code=kind.status,
        headers={**kind.headers, **(headers or {})},
        media_type=_MEDIA_TYPE,
    )
