"""What goes by itself: jobs and uploads whose time is over, what no job needs, nameless files."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, delete, select, union_all

from app.jobs import audit, partial_uploads
from app.jobs.artifacts import job_prefix
from app.jobs.audit import Action
from app.jobs.formats import SUFFIXES
from app.jobs.job import JobStatus
from app.jobs.shelf import DATASETS, MODELS
from app.jobs.tables import artifacts, datasets, jobs, models
from app.jobs.tenants import Caller

#: Jobs that go in one transaction: nobody else can write meanwhile.
_JOBS_AT_ONCE = 100
_FINAL = [status for status in JobStatus if status.is_final]


def forget_job(connection: Connection, job_id: str) -> list[str]:
    """Forget a finished job, and what came with it that no other job names.

    Returns:
        What ``ArtifactStore.delete_below`` removes.
    """
    connection.execute(delete(jobs).where(jobs.c.id == job_id))
    return [
        job_prefix(job_id),
        *MODELS.leave_with(connection, job_id),
        *DATASETS.leave_with(connection, job_id),
    ]


def forget_expired_jobs(connection: Connection, *, at: datetime) -> list[str]:
    """Forget the jobs whose time is over, the first hundred; return as ``forget_job`` does."""
    expired = (
        select(jobs.c.id, jobs.c.tenant)
        .where(jobs.c.expires_at <= at)
        .order_by(jobs.c.expires_at, jobs.c.id)
        .limit(_JOBS_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    keys: list[str] = []
    for job_id, tenant in connection.execute(expired).all():
        keys += forget_job(connection, job_id)
        audit.note(connection, _nobody(tenant), Action.JOB_EXPIRED, job_id, at=at)
    return keys


def forget_unused_uploads(connection: Connection, *, before: datetime, at: datetime) -> list[str]:
    """Forget models and datasets that are older than ``before`` and named by no job.

    Returns:
        The keys of their files.
    """
    shelves = ((MODELS, Action.MODEL_EXPIRED), (DATASETS, Action.DATASET_EXPIRED))
    keys: list[str] = []
    for shelf, action in shelves:
        for id_, tenant, key in shelf.take_unused(connection, before=before):
            keys.append(key)
            audit.note(connection, _nobody(tenant), action, id_, at=at)
    return keys


def forget_stale_uploads(connection: Connection, *, at: datetime) -> list[str]:
    """Forget uploads that are not whole and that nobody went on with; return their files' keys."""
    keys: list[str] = []
    for id_, tenant in partial_uploads.take_expired(connection, at=at):
        keys.append(partial_uploads.partial_key(id_))
        audit.note(connection, _nobody(tenant), Action.UPLOAD_EXPIRED, id_, at=at)
    return keys


def without_row(connection: Connection, keys: Iterable[str]) -> list[str]:
    """Return those of the stored files that no row names any more.

    Everything of a job that has not finished is needed: its worker names files when they are all
    there. What is not called as we call files is left alone.

    Args:
        connection: To the rows as they are after the files were listed.
        keys: Of files that are older than the time between storing a file and naming it.
    """
    named = union_all(select(models.c.key), select(datasets.c.key), select(artifacts.c.key))
    files = {*connection.scalars(named), *partial_uploads.keys(connection)}
    unfinished = set(connection.scalars(select(jobs.c.id).where(jobs.c.status.not_in(_FINAL))))
    return [key for key in keys if not _is_needed(key, files, unfinished)]


def _is_needed(key: str, files: set[str], unfinished: set[str]) -> bool:
    match key.split("/"):
        case ["models" | "datasets" | "uploads", *_]:
            return key in files
        case ["jobs", job_id, *_]:
            packed = (key.removesuffix(suffix) for suffix in SUFFIXES.values())
            return job_id in unfinished or key in files or any(each in files for each in packed)
        case _:
            return True


def _nobody(tenant: str) -> Caller:
    return Caller(tenant, key_id=None)
