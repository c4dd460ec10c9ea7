"""``/v1/jobs/{id}/events``: what happened to a job, as a list or as it happens."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from time import monotonic
from typing import Annotated

import anyio
from anyio import to_thread
from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import JSONResponse
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event

from app.api.errors import problem_responses
from app.api.services import Services, ServicesDep
from app.api.views import EventView
from app.jobs.errors import JobNotFoundError

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_POLL_SECONDS = 0.25
_AT_ONCE = 1000
#: Of what a database can be asked for.
_HIGHEST_ID = 2**63 - 1
_KEEP_ALIVE_SECONDS = 15.0


@dataclass(frozen=True)
class _News:
    """What happened since the caller last looked."""

    events: list[EventView]
    is_all: bool  #: The job has ended, and nothing will follow.


@router.get(
    "/{job_id}/events",
    response_model=list[EventView],
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        204: {"description": "The stream has nothing more: the job ended before `Last-Event-ID`"},
        **problem_responses(404, 422, 503),
    },
)
async def list_events(
    job_id: str,
    services: ServicesDep,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
    last_event_id: Annotated[int, Header(ge=0, le=_HIGHEST_ID)] = 0,
    after: Annotated[
        int, Query(ge=0, le=_HIGHEST_ID, description="Only events with a greater id")
    ] = 0,
) -> Response:
    """Tell what happened to a job.

    A JSON list of at most 1000; with `Accept: text/event-stream`, a stream of server-sent events
    that goes on until the job has ended. `Last-Event-ID` takes it up where it broke off.
    """
    seen = max(last_event_id, after)
    news = await to_thread.run_sync(_news, services, job_id, seen)
    if "text/event-stream" not in accept:
        return JSONResponse([event.model_dump(mode="json") for event in news.events])
    if news.is_all and not news.events:
        # The one answer that stops a browser's EventSource from connecting again.
        return Response(status_code=204)
    return EventSourceResponse(
        _stream(services, job_id, seen, news),
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


def _news(services: Services, job_id: str, seen: int) -> _News:
    # The status is read first: a job that has ended by then has no events but those read after.
    job = services.store.job(job_id)
    events = services.store.events(job_id, after=seen, limit=_AT_ONCE)
    is_all = job.status.is_final and len(events) < _AT_ONCE
    return _News([EventView.of(event) for event in events], is_all=is_all)


async def _stream(services: Services, job_id: str, seen: int, news: _News) -> AsyncGenerator[bytes]:
    last_sent = monotonic()
    while True:
        for event in news.events:
            yield format_sse_event(
                data_str=event.model_dump_json(), event=event.kind, id=str(event.id)
            )
            seen, last_sent = event.id, monotonic()
        if news.is_all:
            return
        if monotonic() - last_sent > _KEEP_ALIVE_SECONDS:
            yield KEEPALIVE_COMMENT
            last_sent = monotonic()
        await anyio.sleep(_POLL_SECONDS)
        try:
            news = await to_thread.run_sync(_news, services, job_id, seen)
        except JobNotFoundError:
            return
