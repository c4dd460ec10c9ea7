"""A piece of a file: the body of a request, written where the file ends so far.

What has come stays when the sender is cut off. Where a digest says what the piece must be, it
stays whole or not at all, since of a part of it nobody could say whether it is right.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import Final, Self

from anyio import CancelScope, to_thread
from fastapi import Request
from starlette.requests import ClientDisconnect

from app.api.bodies import DIGEST_FIELDS
from app.api.errors import MalformedRequestError, WrongChecksumError
from app.api.forms import blocks
from app.jobs.errors import TooLargeError
from app.jobs.growing import GrowingFile

#: As ``Upload-Checksum`` and ``hashlib`` call them; the protocol demands the first.
CHECKSUM_ALGORITHMS: Final = ("sha1", "sha256", "sha512")


@dataclass(frozen=True)
class Checksum:
    """What a piece must be."""

    algorithm: str
    digest: bytes

    @classmethod
    def parsed(cls, value: str) -> Self:
        """Read an ``Upload-Checksum``.

        Raises:
            MalformedRequestError: it is none, or names another algorithm.
        """
        algorithm, _, encoded = value.partition(" ")
        try:
            digest = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            digest = b""
        if algorithm not in CHECKSUM_ALGORITHMS or not digest:
            message = (
                f"Upload-Checksum must be one of {', '.join(CHECKSUM_ALGORITHMS)}, a space and the "
                f"digest in base64. Received: {value!r:.200}"
            )
            raise MalformedRequestError(message)
        return cls(algorithm, digest)


async def receive_piece(
    request: Request, file: GrowingFile, *, max_bytes: int, checksum: Checksum | None
) -> None:
    """Write the body of ``request`` to the end of ``file``.

    Args:
        request: Its body must not have been read.
        file: Its size says afterwards how much has come.
        max_bytes: What the file lacks.
        checksum: What the body must be; ``None`` where the request does not say.

    Raises:
        TooLargeError: the body is longer than that.
        WrongChecksumError: it is another body.
        MalformedRequestError: it breaks off.
    """
    piece = _Piece(file, max_bytes, checksum)
    is_whole = False
    try:
        async for block in blocks(request):
            await to_thread.run_sync(piece.append, block)
        piece.require_equal()
        is_whole = True
    except ClientDisconnect as error:
        message = "the client went away before the piece was complete"
        raise MalformedRequestError(message) from error
    finally:
        if not is_whole and _is_digested(request):
            with CancelScope(shield=True):
                await to_thread.run_sync(piece.take_back)


class _Piece:
    """What has come of a piece."""

    def __init__(self, file: GrowingFile, max_bytes: int, checksum: Checksum | None) -> None:
        self._file = file
        self._begin = file.size
        self._room = max_bytes
        self._checksum = checksum
        self._hash = None if checksum is None else hashlib.new(checksum.algorithm)

    def append(self, block: bytes) -> None:
        self._room -= len(block)
        if self._room < 0:
            message = "an upload must have as many bytes as its Upload-Length. Received: more"
            raise TooLargeError(message)
        if self._hash is not None:
            self._hash.update(block)
        self._file.append(block)

    def require_equal(self) -> None:
        if self._checksum is None or self._hash is None:
            return
        if not hmac.compare_digest(self._checksum.digest, self._hash.digest()):
            raise WrongChecksumError(algorithm=self._checksum.algorithm)

    def take_back(self) -> None:
        self._file.cut(self._begin)


def _is_digested(request: Request) -> bool:
    return any(field in request.headers for field in (*DIGEST_FIELDS, "upload-checksum"))
