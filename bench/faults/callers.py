"""Callers who ask until they are answered, and remember every answer."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx2

from bench.faults.history import Accepted, Downloaded, History, Listed, Seen, Told, Withdrawn

_PATIENCE_SECONDS = 300.0
_PAUSE_SECONDS = 0.3
_FINAL = {"succeeded", "failed", "cancelled"}


class NotAnsweredError(Exception):
    """A call was repeated for a long time, and never answered."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One of the kinds of job that are submitted again and again."""

    name: str
    files: Mapping[str, Path]  #: By the part of the form.
    spec: str


class Caller:
    """Somebody who calls the API; safe to share between threads.

    Args:
        url: Of the API.
        history: Where answers are kept.
    """

    def __init__(self, url: str, history: History) -> None:
        self._client = httpx2.Client(base_url=url, timeout=60)
        self._history = history
        self.server_errors = 0  #: Answers 500: each is a bug, though nothing need be lost by it.

    def close(self) -> None:
        """Call no more."""
        self._client.close()

    def submit(self, kind: Kind, key: str) -> str:
        """Have a job made; return its id."""
        contents = {part: (path.name, path.read_bytes()) for part, path in kind.files.items()}
        answer = self._answered(
            "POST",
            "/v1/jobs",
            files=contents,
            data={"spec": kind.spec},
            headers={"Idempotency-Key": key},
        )
        job_id = answer.raise_for_status().json()["id"]
        self._history.add(Accepted(key, kind.name, job_id))
        return job_id

    def ask(self, job_id: str, call: str) -> None:
        """Ask for ``cancel``, ``pause`` or ``resume``; that the job has ended is an answer too."""
        if call == "cancel":
            self._history.add(Withdrawn(job_id))
        self._answered("POST", f"/v1/jobs/{job_id}/{call}")

    def look(self, job_id: str) -> str:
        """Look at a job, download its file once it is there, and return its status."""
        job = self._answered("GET", f"/v1/jobs/{job_id}").raise_for_status().json()
        status: str = job["status"]
        told = job["result"]["artifacts"][0]["sha256"] if status == "succeeded" else None
        failure = job["failure"] and job["failure"]["code"] + ": " + job["failure"]["message"]
        self._history.add(Seen(job_id, status, job["finished_at"], told, failure))
        if status == "succeeded":
            path = f"/v1/jobs/{job_id}/artifacts/model.keras"
            answer = self._answered("GET", path)
            if answer.is_success:
                digest = hashlib.sha256(answer.content).hexdigest()
                self._history.add(Downloaded(job_id, digest))
        return status

    def read_events(self, job_id: str) -> None:
        """Read what was told of a job."""
        events = self._answered("GET", f"/v1/jobs/{job_id}/events").raise_for_status().json()
        self._history.add(
            Told(
                job_id,
                tuple(event["id"] for event in events),
                tuple(event["data"]["status"] for event in events if event["kind"] == "status"),
            )
        )

    def list_jobs(self) -> None:
        """Read the list of jobs to its end."""
        job_ids: list[str] = []
        cursor: str | None = None
        while True:
            parameters = {"limit": 100, **({} if cursor is None else {"after": cursor})}
            page = self._answered("GET", "/v1/jobs", params=parameters).raise_for_status().json()
            job_ids += [job["id"] for job in page["jobs"]]
            cursor = page["next_cursor"]
            if cursor is None:
                self._history.add(Listed(tuple(job_ids)))
                return

    def _answered(self, method: str, path: str, **call: Any) -> httpx2.Response:
        """Call until there is an answer that is not the server's failure.

        Raises:
            NotAnsweredError: there is none for a long time.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                answer = self._client.request(method, path, **call)
            except httpx2.TransportError:
                pass
            else:
                if not answer.is_server_error:
                    return answer
                self.server_errors += answer.status_code == HTTPStatus.INTERNAL_SERVER_ERROR
            time.sleep(_PAUSE_SECONDS)
        message = f"{method} {path} must be answered within {_PATIENCE_SECONDS:g} seconds"
        raise NotAnsweredError(message)
