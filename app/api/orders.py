"""What a caller asks to have pruned: uploaded with the request, or named by id."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.api.errors import (
    InvalidRequestError,
    MalformedRequestError,
    UnsupportedContentTypeError,
)
from app.api.forms import FormLimits, ReceivedFile, receive_form
from app.api.services import Services
from app.jobs.errors import FieldError, TooLargeError
from app.jobs.spec import MAX_SPEC_BYTES, JobSpec, parse_spec
from app.jobs.strict_json import parse_json
from app.jobs.uploads import Upload

#: The spec, and room for the ids beside it.
_MAX_JSON_BYTES = MAX_SPEC_BYTES + 4096
_MAX_JSON_DEPTH = 64


@dataclass(frozen=True)
class UploadOrder:
    """The files came with the request."""

    model: ReceivedFile
    data: ReceivedFile | None
    spec: JobSpec


@dataclass(frozen=True)
class StoredOrder:
    """The files were uploaded before."""

    model_id: str
    dataset_id: str | None
    spec: JobSpec
    going_with_job: tuple[Upload, ...] = ()  #: These are kept no longer than the job.


Order: TypeAlias = UploadOrder | StoredOrder


class JobRequest(BaseModel):
    """A job on a model and a dataset that were uploaded before."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model_id: str
    dataset_id: str | None = Field(default=None, description="Left out: prune without fine-tuning")
    spec: JobSpec = Field(default=JobSpec(), description="Left out: every default")
    going_with_job: tuple[Upload, ...] = Field(
        default=(),
        description="Which of the two are removed with the job, as if they had been sent with it",
    )


class _RawJobRequest(BaseModel):
    """``JobRequest`` before its spec is read, whose faults are pointed at in a way of their own."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model_id: str
    dataset_id: str | None = None
    spec: dict[str, Any] = {}
    # Strict would refuse what JSON has: a list.
    going_with_job: tuple[Upload, ...] = Field(default=(), strict=False)


@asynccontextmanager
async def receive_order(request: Request, services: Services) -> AsyncGenerator[Order]:
    """Read what the body of ``request`` asks for; uploaded files are gone when the block ends.

    Raises:
        RefusedSpecError: raised as soon as the spec is read, before any file is looked at.
        UnsupportedContentTypeError: the body is neither a form nor JSON.
        InvalidRequestError: a part or a field is unknown or missing.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    match content_type:
        case "application/json":
            yield _stored_order(await _bounded_body(request))
        case "multipart/form-data":
            async with _receive_upload(request, services) as upload:
                yield upload
        case _:
            message = (
                "Content-Type must be multipart/form-data or application/json. "
                f"Received: {content_type!r}"
            )
            raise UnsupportedContentTypeError(message)


@asynccontextmanager
async def _receive_upload(request: Request, services: Services) -> AsyncGenerator[UploadOrder]:
    specs: list[JobSpec] = []
    limits = FormLimits(
        files={"model": services.max_model_bytes, "data": services.max_dataset_bytes},
        texts={"spec": lambda raw: specs.append(parse_spec(raw))},
        max_text_bytes=MAX_SPEC_BYTES,
    )
    async with receive_form(request, limits, folder=services.incoming) as files:
        yield UploadOrder(
            model=required_part(files, "model"),
            data=files.get("data"),
            spec=specs[0] if specs else JobSpec(),
        )


def required_part(files: dict[str, ReceivedFile], name: str) -> ReceivedFile:
    """Return the file of the part ``name``, or refuse the form that lacks it."""
    if name not in files:
        received = ", ".join(files) or "no file"
        message = f"the form must have a part {name} (curl: -F {name}=@path). Received: {received}"
        raise InvalidRequestError(FieldError(pointer=f"/{name}", message=message))
    return files[name]


async def _bounded_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_JSON_BYTES:
            message = f"a JSON body must have at most {_MAX_JSON_BYTES} bytes. Received: more"
            raise TooLargeError(message)
    return bytes(body)


def _stored_order(body: bytes) -> StoredOrder:
    try:
        value = parse_json(body, max_bytes=_MAX_JSON_BYTES, max_depth=_MAX_JSON_DEPTH)
    except ValueError as error:
        raise MalformedRequestError(str(error)) from error
    try:
        raw = _RawJobRequest.model_validate(value)
    except ValidationError as error:
        raise InvalidRequestError(*_faults(error)) from error
    # Written out again, the spec meets every rule that a spec in a form meets.
    spec = parse_spec(json.dumps(raw.spec))
    return StoredOrder(raw.model_id, raw.dataset_id, spec, raw.going_with_job)


def _faults(error: ValidationError) -> list[FieldError]:
    return [
        FieldError(
            pointer="".join(f"/{part}" for part in fault["loc"]),
            message=f"{fault['msg']}. Received: {fault['input']!r}",
        )
        for fault in error.errors()
    ]
