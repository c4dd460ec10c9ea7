"""The service, as a program calls it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from espalier import uploads
from espalier.connection import Body, Connection
from espalier.job import Job
from espalier.payload import Data, Model, OnUpload, opened, written
from espalier.records import JobPage, JobState, Plan

_PAGE = 100


class Client:
    """Calls a service; safe to share between threads.

    What the world does to a request is borne for a minute: it is made again, with an idempotency
    key where that matters. A service that has not answered once is not waited for.

    Args:
        url: Where it serves, as ``espalier serve`` says it.
        api_key: As its operator made it; left out where none is asked for.
        patience_seconds: How long setbacks in a row are borne; 0: none.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        api_key: str | None = None,
        *,
        patience_seconds: float = 60.0,
    ) -> None:
        self._connection = Connection(url, api_key=api_key, patience_seconds=patience_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every connection."""
        self._connection.close()

    def prune(
        self,
        model: Model,
        data: Data | None = None,
        spec: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        on_upload: OnUpload | None = None,
    ) -> Job:
        """Have a model pruned; return as soon as the job is accepted.

        Args:
            model: A ``.keras`` or ``.h5`` file, or a live Keras model, which is saved as it is.
            data: What it is fine-tuned on; left out: it is pruned at once, without fine-tuning.
            spec: As in ``docs/api.md``; left out: every default.
            idempotency_key: The same key with the same order gives the first job again; left out:
                a fresh one, so that this call makes one job however often it is sent.
            on_upload: Called with the bytes sent so far and in all.

        Raises:
            RefusedError: the service will not do it; ``code`` says why, and nothing is stored.
            UnreachableError: it does not answer.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        with (
            written(model, data) as paths,
            ExitStack() as undo,
            self._ordered(paths, spec, on_upload, undo=undo) as order,
        ):
            state = self._connection.post("/v1/jobs", JobState, order, headers=headers)
            if order.json is None or order.json["model_id"] == state.model.id:
                undo.pop_all()
        return Job(self._connection, state)

    def preflight(
        self,
        model: Model,
        data: Data | None = None,
        spec: Mapping[str, Any] | None = None,
        *,
        on_upload: OnUpload | None = None,
    ) -> Plan:
        """Say what ``prune`` with the same arguments would do; nothing is stored.

        Raises:
            RefusedError: the service would refuse it.
            UnreachableError: it does not answer.
        """
        with (
            written(model, data) as paths,
            ExitStack() as undo,
            self._ordered(paths, spec, on_upload, undo=undo) as order,
        ):
            return self._connection.post("/v1/jobs/preflight", Plan, order)

    def job(self, job_id: str) -> Job:
        """Return the job with this id, as it stands now.

        Raises:
            RefusedError: there is no such job.
        """
        return Job(self._connection, self._connection.get(f"/v1/jobs/{job_id}", JobState))

    def jobs(self, *, status: str | None = None) -> Iterator[JobState]:
        """Yield every job, the newest first; asked for by the page, as they are needed.

        Args:
            status: Only those in this one, ``running`` for example.
        """
        after: str | None = None
        while True:
            page = self._connection.get(
                "/v1/jobs", JobPage, limit=_PAGE, status=status, after=after
            )
            yield from page.jobs
            if page.next_cursor is None:
                return
            after = page.next_cursor

    @contextmanager
    def _ordered(
        self,
        paths: Mapping[str, Path],
        spec: Mapping[str, Any] | None,
        on_upload: OnUpload | None,
        *,
        undo: ExitStack,
    ) -> Generator[Body]:
        """Give the body of an order: the files themselves, or the ids of what was sent before.

        Args:
            paths: The files by the names of their parts.
            spec: What is to be done; ``None``: every default.
            on_upload: Called with the bytes sent so far and in all.
            undo: Removes what was sent before.
        """
        if not uploads.are_large(paths):
            fields = {} if spec is None else {"spec": json.dumps(spec)}
            with opened(paths, on_upload) as files:
                yield Body(fields=fields, files=files)
            return
        ids = uploads.sent(self._connection, paths, on_upload, undo=undo)
        given = {} if spec is None else {"spec": spec}
        going_with_job = [name.removesuffix("_id") for name in ids]
        yield Body(json={**ids, **given, "going_with_job": going_with_job})
