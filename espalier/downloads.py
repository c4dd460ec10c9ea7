"""Files that come whole, or not at all."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from http import HTTPStatus
from io import BufferedRandom
from pathlib import Path

from espalier.connection import Connection
from espalier.errors import DamagedDownloadError, UnreachableError


def download(connection: Connection, path: str, target: Path) -> Path:
    """Write the file at ``path`` of the service to ``target``, over what is there.

    A connection that breaks is taken up where it broke, if the file is still the same one.

    Raises:
        RefusedError: there is no such file.
        UnreachableError: the service does not answer.
        DamagedDownloadError: what came is not the file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f"{target.name}.part")
    try:
        with aside.open("wb+") as file:
            digest = _fill(connection, path, file)
            file.seek(0)
            _require(file, digest, target.name)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    return target


def _fill(connection: Connection, path: str, file: BufferedRandom) -> str:
    """Write all of it, and return the digest that the service states."""
    patience = connection.patience()
    etag: str | None = None
    while True:
        try:
            with connection.streamed(path, _asking_from(file.tell(), etag)) as answer:
                if answer.status_code != HTTPStatus.PARTIAL_CONTENT:
                    file.seek(0)
                    file.truncate()
                # A store that the service sends us to knows neither.
                said = answer.history[0] if answer.history else answer
                etag = said.headers.get("ETag")
                for block in answer.iter_raw():
                    file.write(block)
                    patience.renew()
                return said.headers["Repr-Digest"]
        except UnreachableError as error:
            patience.bear(error)


def _asking_from(start: int, etag: str | None) -> Mapping[str, str]:
    # The bytes as they are: the service states the digest of those.
    headers = {"Accept-Encoding": "identity"}
    if start and etag is not None:
        headers |= {"Range": f"bytes={start}-", "If-Range": etag}
    return headers


def _require(file: BufferedRandom, digest: str, name: str) -> None:
    found = base64.b64encode(hashlib.file_digest(file, "sha256").digest()).decode()
    if digest != f"sha-256=:{found}:":
        message = f"{name} must have the digest {digest}. Received: sha-256=:{found}:"
        raise DamagedDownloadError(message)
