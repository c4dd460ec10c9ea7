"""Celery's side of a job: the doorbell rang for it."""

from __future__ import annotations

from collections.abc import Callable

from celery import Celery

from app.jobs.queue import PRUNE_TASK


def install(celery: Celery, attend: Callable[[str], None]) -> None:
    """Have ``celery`` call ``attend`` with the id of each job that it is woken for.

    The message says nothing but that somebody should look: whether there is anything to do, the
    database decides, so a message too many or too few does no harm.
    """

    @celery.task(name=PRUNE_TASK, ignore_result=True)
    def prune(job_id: str) -> None:  # pyright: ignore[reportUnusedFunction]  (Celery keeps it)
        attend(job_id)
