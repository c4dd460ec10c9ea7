"""Requests to one service, made again where the world came between.

Every call of the API can be made twice without harm, or is made so: a submission carries an
idempotency key, and ``Job`` takes a move that has been made already for made.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from espalier.errors import ClientError, RefusedError, UnreachableError
from espalier.records import Problem

#: Between two bytes. The static check of a large upload is the longest silence there is.
_SILENCE_SECONDS = 120.0
_CONNECT_SECONDS = 10.0
_FIRST_WAIT_SECONDS = 0.25
_LONGEST_WAIT_SECONDS = 8.0
#: A proxy says these of a service that is away; the service itself only the second.
_AWAY = frozenset(
    {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)

_Record = TypeVar("_Record", bound=BaseModel)


@dataclass(frozen=True)
class Body:
    """What a request carries, beside its path; files are read from their beginning each time."""

    json: Mapping[str, Any] | None = None
    fields: Mapping[str, str] | None = None
    files: Mapping[str, Any] | None = None


class Connection:
    """Requests to the service at ``url``; safe to share between threads.

    A service that has not answered once is not waited for: its address is likely wrong.

    Args:
        url: Of the service, ``http://127.0.0.1:8000`` for example.
        api_key: Shown with every request; ``None`` where none is asked for.
        patience_seconds: How long setbacks in a row are borne before they are raised.
    """

    def __init__(self, url: str, *, api_key: str | None, patience_seconds: float) -> None:
        headers = {"User-Agent": "espalier-client"}
        if api_key is not None:
            headers["Authorization"] = f"Bearer {api_key}"
        self.url = url.rstrip("/")
        self._patience_seconds = patience_seconds
        self._has_answered = False
        self._http = httpx2.Client(
            base_url=self.url,
            headers=headers,
            timeout=httpx2.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS),
        )

    def close(self) -> None:
        """End every connection."""
        self._http.close()

    def patience(self) -> Patience:
        """Return a fresh one."""
        return Patience(self._patience_seconds)

    def get(self, path: str, answer: type[_Record], **query: str | int | None) -> _Record:
        """Ask for the record at ``path``; a ``None`` in ``query`` is left out."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._record(self._sent("GET", path, Body(), query=given), answer)

    def get_list(self, path: str, answer: type[_Record], **query: int) -> list[_Record]:
        """Ask for the list of records at ``path``."""
        sent = self._sent("GET", path, Body(), query=query)
        return [answer.model_validate(record) for record in sent.json()]

    def post(
        self,
        path: str,
        answer: type[_Record],
        body: Body = Body(),
        *,
        headers: Mapping[str, str] | None = None,
    ) -> _Record:
        """Post ``body`` to ``path`` and return the record that is answered."""
        return self._record(self._sent("POST", path, body, headers=headers), answer)

    def delete(self, path: str) -> None:
        """Delete what is at ``path``."""
        self._sent("DELETE", path, Body())

    def tried(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        content: Iterator[bytes] | None = None,
    ) -> httpx2.Response:
        """Make a request of a protocol of its own; tried once, since ``content`` is there once.

        Raises:
            RefusedError: the service will not do it.
            UnreachableError: it does not answer.
        """
        with self._translated():
            answer = self._http.request(method, path, headers=headers, content=content)
        return _accepted(answer)

    @contextmanager
    def streamed(self, path: str, headers: Mapping[str, str]) -> Generator[httpx2.Response]:
        """Open the answer at ``path``, whose body is read in the block; tried once.

        Where the service names another place for it, it comes from there, without our key.

        Raises:
            RefusedError: the service will not give it.
            UnreachableError: it could not be opened, or broke off in the block.
        """
        opened = self._http.stream("GET", path, headers=headers, follow_redirects=True)
        with self._translated(), opened as answer:
            if answer.is_error:
                answer.read()
            yield _accepted(answer)

    def _sent(
        self,
        method: str,
        path: str,
        body: Body,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str | int] | None = None,
    ) -> httpx2.Response:
        def send() -> httpx2.Response:
            with self._translated():
                answer = self._http.request(
                    method,
                    path,
                    json=body.json,
                    data=body.fields,
                    files=body.files,
                    params=query,
                    headers=headers,
                )
            return _accepted(answer)

        return self.patience().until_done(send)

    @contextmanager
    def _translated(self) -> Generator[None]:
        """Say in our words what the world did to a request."""
        try:
            yield
        except httpx2.InvalidURL as error:
            message = f"the URL of the service must be one. Received: {self.url}"
            raise UnreachableError(message) from error
        except httpx2.TransportError as error:
            message = f"the service at {self.url} does not answer ({_reason(error)})"
            again = _FIRST_WAIT_SECONDS if self._has_answered else None
            raise UnreachableError(message, retry_after=again) from error
        except ClientError:
            self._has_answered = True
            raise
        self._has_answered = True

    def _record(self, answer: httpx2.Response, record: type[_Record]) -> _Record:
        try:
            return record.model_validate_json(answer.content)
        except ValidationError as error:
            message = f"what answers at {self.url} must be Espalier. Received: something else"
            raise UnreachableError(message) from error


class Patience:
    """How long setbacks in a row are borne.

    Args:
        seconds: Waited in all, until it is ``renewed``.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waited = 0.0
        self._next_wait = _FIRST_WAIT_SECONDS

    def until_done(self, act: Callable[[], httpx2.Response]) -> httpx2.Response:
        """Return what ``act`` returns, which is called again after each setback."""
        while True:
            try:
                return act()
            except ClientError as error:
                self.bear(error)

    def bear(self, error: ClientError) -> None:
        """Wait until trying again may help.

        Raises:
            ClientError: ``error``, when that does not help, or has been done for long enough.
        """
        if error.retry_after is None:
            raise error
        wait = max(error.retry_after, self._next_wait)
        if self._waited + wait > self._seconds:
            raise error
        # Spread out, so that those who lost a service together do not come back together.
        time.sleep(wait * random.uniform(1.0, 1.25))  # noqa: S311
        self._waited += wait
        self._next_wait = min(2 * self._next_wait, _LONGEST_WAIT_SECONDS)

    def renew(self) -> None:
        """Things go on: the next setback is the first one again."""
        self._waited = 0.0
        self._next_wait = _FIRST_WAIT_SECONDS


def _accepted(answer: httpx2.Response) -> httpx2.Response:
    """Return ``answer``, or raise what it says went wrong."""
    if not answer.is_error:
        return answer
    problem = _problem(answer)
    retry_after = _retry_after(answer)
    if answer.status_code in _AWAY:
        wait = _FIRST_WAIT_SECONDS if retry_after is None else retry_after
        message = f"{problem.title}. {problem.detail}"
        raise UnreachableError(message, retry_after=wait)
    raise RefusedError(problem, retry_after=retry_after)


def _problem(answer: httpx2.Response) -> Problem:
    try:
        return Problem.model_validate_json(answer.content)
    except ValidationError:
        # Not the service's own words, but those of something on the way to it.
        phrase = answer.reason_phrase or "An error"
        return Problem(
            status=answer.status_code,
            code="unknown",
            title=phrase,
            detail=f"{answer.request.method} {answer.request.url} answers {answer.status_code}",
        )


def _retry_after(answer: httpx2.Response) -> float | None:
    """Return the seconds of ``Retry-After``; Espalier writes no dates."""
    written = answer.headers.get("Retry-After", "")
    return float(written) if written.isdecimal() else None


def _reason(error: httpx2.TransportError) -> str:
    return str(error) or type(error).__name__
