"""What holds for every body, whoever reads it: a silent sender is cut off, and digests must fit."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final, Protocol

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import MalformedRequestError, SilentSenderError, WrongDigestError

#: Of RFC 9530, and strong enough to tell anything.
_ALGORITHMS = {"sha-256": "sha256", "sha-512": "sha512"}
#: This service neither encodes bodies nor takes parts of files: the two are about the same bytes.
DIGEST_FIELDS: Final = ("content-digest", "repr-digest")
#: A member of a dictionary whose value is a byte sequence (RFC 9651, sections 3.2 and 3.3.5).
_MEMBER = re.compile(r"([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/]*={0,2}):")


class WatchedBodies:
    """Middleware that watches a body while the application reads it.

    Raises, from within the application's reading:
        SilentSenderError: nothing came for as long as the operator waits.
        WrongDigestError: a ``Content-Digest`` or ``Repr-Digest`` is that of another body; raised
            before the reader is told that the body is complete.
        MalformedRequestError: such a field cannot be read, or names no algorithm that is checked.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            silence = scope["state"]["backends"].sender_silence_seconds
            receive = _Body(Headers(scope=scope), receive, silence_seconds=silence).receive
        await self._app(scope, receive, send)


class _Body:
    """The body of one request, on its way in."""

    def __init__(self, headers: Headers, receive: Receive, *, silence_seconds: float) -> None:
        self._headers = headers
        self._receive = receive
        self._silence_seconds = silence_seconds
        self._expected: list[_Expected] | None = None
        self._is_complete = False

    async def receive(self) -> Message:
        # Whoever has the whole body waits here for the client to go away, for as long as it takes.
        if self._is_complete:
            return await self._receive()
        if self._expected is None:
            self._expected = _expected(self._headers)
        message = await self._next()
        for expected in self._expected:
            expected.hash.update(message.get("body", b""))
        self._is_complete = not message.get("more_body", False)
        if self._is_complete and message["type"] == "http.request":
            _require_equal(self._expected)
        return message

    async def _next(self) -> Message:
        try:
            with anyio.fail_after(self._silence_seconds):
                return await self._receive()
        except TimeoutError as error:
            raise SilentSenderError(seconds=self._silence_seconds) from error


class _Hash(Protocol):
    """What ``hashlib`` makes."""

    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


@dataclass(frozen=True)
class _Expected:
    """A digest that the body must have."""

    field: str
    algorithm: str  #: As the field names it.
    digest: bytes
    hash: _Hash  #: Of what has come so far.


def _expected(headers: Headers) -> list[_Expected]:
    return [
        expected
        for field in DIGEST_FIELDS
        if field in headers
        for expected in _parsed(field, ", ".join(headers.getlist(field)))
    ]


def _parsed(field: str, value: str) -> list[_Expected]:
    found = [_MEMBER.fullmatch(member.strip()) for member in value.split(",")]
    known = [
        _Expected(field, member[1], _decoded(field, member[2]), hashlib.new(_ALGORITHMS[member[1]]))
        for member in found
        if member is not None and member[1] in _ALGORITHMS
    ]
    # A digest that nobody checks would promise what is not kept.
    if None in found or not known:
        message = (
            f"{field} must name sha-256 or sha-512, as in sha-256=:…:. Received: {value!r:.200}"
        )
        raise MalformedRequestError(message)
    return known


def _decoded(field: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        message = f"{field} must be base64 between colons. Received: {text!r:.200}"
        raise MalformedRequestError(message) from error


def _require_equal(expected: list[_Expected]) -> None:
    for one in expected:
        if not hmac.compare_digest(one.digest, one.hash.digest()):
            raise WrongDigestError(one.field, algorithm=one.algorithm)
