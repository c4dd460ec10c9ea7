"""``/v1/jobs``: submit, follow, pause, cancel, remove."""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request, Response

from app.api import admission
from app.api.errors import problem_responses
from app.api.examples import ORDER_BODY
from app.api.orders import receive_order
from app.api.room import ROOM_FOR_JOB
from app.api.services import ServicesDep
from app.api.views import JobPage, JobView, MetricsView
from app.jobs.artifacts import job_prefix
from app.jobs.job import JobStatus
from app.jobs.plan import Plan

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="The same key with the same order gives the first job again, not a second one",
    ),
]


# The first, since it is asked for most.
@router.get("/{job_id}", response_model=JobView, responses=problem_responses(404, 503))
async def get_job(job_id: str, services: ServicesDep) -> Response:
    """Show a job: where it stands, how far it is, and in the end its result."""

    def look() -> str:
        return JobView.of(services.store.job(job_id)).model_dump_json()

    shown = await services.answers.to(("job", job_id), look)
    return Response(shown, media_type="application/json")


@router.post(
    "",
    status_code=202,
    openapi_extra=ORDER_BODY,
    responses={
        202: {"headers": {"Location": {"schema": {"type": "string"}}}},
        **problem_responses(400, 404, 408, 413, 415, 422, 503),
    },
    dependencies=[ROOM_FOR_JOB],
)
async def submit_job(
    request: Request,
    response: Response,
    services: ServicesDep,
    idempotency_key: IdempotencyKey = None,
) -> JobView:
    """Have a model pruned.

    Send the files as a form, or name by id what was uploaded before. Without data the model is
    pruned without fine-tuning. When anything is refused, nothing is stored.
    """
    async with receive_order(request, services) as order:
        job = await to_thread.run_sync(
            lambda: admission.submit(services, order, idempotency_key=idempotency_key)
        )
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return JobView.of(job)


@router.post(
    "/preflight",
    openapi_extra=ORDER_BODY,
    responses=problem_responses(400, 404, 408, 413, 415, 422, 503),
)
async def preflight_job(request: Request, services: ServicesDep) -> Plan:
    """Say what a job would do: steps, final sparsity, predicted sizes, warnings.

    Takes what submitting takes and refuses what submitting refuses; stores nothing.
    """
    async with receive_order(request, services) as order:
        return await to_thread.run_sync(admission.preflight, services, order)


@router.get("", responses=problem_responses(422, 503))
def list_jobs(
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(description="`next_cursor` of the page before")] = None,
    status: JobStatus | None = None,
) -> JobPage:
    """List jobs, the newest first."""
    page = services.store.jobs(limit=limit, after=after, status=status)
    return JobPage(jobs=tuple(JobView.of(job) for job in page.jobs), next_cursor=page.next_cursor)


@router.get("/{job_id}/metrics", responses=problem_responses(404, 503))
def get_metrics(job_id: str, services: ServicesDep) -> MetricsView:
    """Give the history of the training as columns, by step and by epoch."""
    return MetricsView.of(services.store.history(job_id))


@router.post("/{job_id}/cancel", status_code=202, responses=problem_responses(404, 409, 503))
def cancel_job(job_id: str, services: ServicesDep) -> JobView:
    """Withdraw a job. A queued or paused one is cancelled at once, a running one within seconds."""
    job = services.store.request_cancel(job_id)
    if job.status.is_final:
        # No worker holds it any more, so none removes what former attempts left.
        services.files.delete_below(job_prefix(job_id))
    return JobView.of(job)


@router.post("/{job_id}/pause", status_code=202, responses=problem_responses(404, 409, 503))
def pause_job(job_id: str, services: ServicesDep) -> JobView:
    """Set a job aside, so that others are served first.

    A queued one is paused at once, a running one within seconds: it keeps what it has learnt so
    far, and holds no worker. It stays paused until it is resumed or cancelled.
    """
    return JobView.of(services.store.request_pause(job_id))


@router.post("/{job_id}/resume", status_code=202, responses=problem_responses(404, 409, 503))
def resume_job(job_id: str, services: ServicesDep) -> JobView:
    """Have a paused job go on where it was; the result is the same as without the pause."""
    job = services.store.resume(job_id)
    if job.status is JobStatus.QUEUED:
        admission.ring(services, job)
    return JobView.of(job)


@router.delete("/{job_id}", status_code=204, responses=problem_responses(404, 409, 503))
def delete_job(job_id: str, services: ServicesDep) -> None:
    """Remove a finished job and its files, with the model and data that were uploaded with it."""
    for key in services.store.delete_job(job_id):
        services.files.delete_below(key)
