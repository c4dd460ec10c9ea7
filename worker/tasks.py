"""Celery's side of a job: the doorbell rang for it."""

from __future__ import annotations

from collections.abc import Callable

from celery import Celery

from app.jobs.queue import PRUNE_TASK


def install(celery: Celery, attend: Callable[[], None]) -> None:
    """Have ``celery`` call ``attend`` whenever it is woken.

    The message says nothing but that somebody should look: what there is to do, and for whom, the
    database decides, so a message too many or too few does no harm.
    """

    @celery.task(name=PRUNE_TASK, ignore_result=True)
    def prune(_job_id: str) -> None:  # pyright: ignore[reportUnusedFunction]  (Celery keeps it)
        attend()
