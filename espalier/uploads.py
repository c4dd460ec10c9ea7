"""Files too large for one request: sent in pieces, and gone on with where a connection broke.

By the tus protocol, version 1.0.0: https://tus.io/protocols/resumable-upload
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Final

from espalier.connection import Connection
from espalier.errors import ClientError, DamagedUploadError, RefusedError
from espalier.payload import Meter, OnUpload
from espalier.records import FileRef

#: An order with a file of this size or more has its files sent in pieces.
LARGE_BYTES: Final = 64 * 2**20
#: What stands between may keep as much to itself, and lose it.
_PIECE_BYTES = 32 * 2**20
_BLOCK_BYTES = 2**18
_TUS = {"Tus-Resumable": "1.0.0"}
_UPLOADS = "/v1/uploads"
#: What the parts of an order are called here, and where they are found once they are whole.
_KINDS = {"model": ("model", "/v1/models"), "data": ("dataset", "/v1/datasets")}


def are_large(paths: Mapping[str, Path]) -> bool:
    """Whether these files are better sent in pieces."""
    return any(path.stat().st_size >= LARGE_BYTES for path in paths.values())


def sent(
    connection: Connection,
    paths: Mapping[str, Path],
    on_upload: OnUpload | None,
    *,
    undo: ExitStack,
) -> dict[str, str]:
    """Send files; return ``model_id``, and ``dataset_id`` where there are data.

    Args:
        connection: To the service.
        paths: By the names of the parts of an order, ``model`` and ``data``.
        on_upload: Called with the bytes sent so far and in all.
        undo: Removes from the service what has been sent.

    Raises:
        RefusedError: a file cannot be taken.
        UnreachableError: the service does not answer.
        DamagedUploadError: what has arrived is not the file.
    """
    meter = Meter(paths, on_upload)
    ids: dict[str, str] = {}
    for part, path in paths.items():
        kind, place = _KINDS[part]
        id_ = _begun(connection, path, kind)
        undo.callback(_withdraw, connection, id_, place)
        _send(connection, path, id_, told=partial(meter.read_to, part))
        _require_same(connection.get(f"{place}/{id_}", FileRef), path)
        ids[f"{kind}_id"] = id_
    return ids


def _begun(connection: Connection, path: Path, kind: str) -> str:
    """Announce a file; return the id of what it will be."""
    metadata = ",".join(
        f"{name} {base64.b64encode(value.encode()).decode()}"
        for name, value in (("filename", path.name), ("kind", kind))
    )
    length = str(path.stat().st_size)
    headers = {**_TUS, "Upload-Length": length, "Upload-Metadata": metadata}
    answer = connection.patience().until_done(partial(connection.tried, "POST", _UPLOADS, headers))
    return answer.headers["Location"].rpartition("/")[2]


def _send(connection: Connection, path: Path, id_: str, *, told: Callable[[int], None]) -> None:
    """Send all of a file, each piece from where the service has it."""
    size, offset = path.stat().st_size, 0
    patience = connection.patience()
    with path.open("rb") as file:
        while offset < size:
            before = offset
            try:
                offset = _send_piece(connection, file, id_, offset, told=told)
            except ClientError as error:
                patience.bear(error)
                offset = _reached(connection, id_)
            if offset > before:
                patience.renew()


def _send_piece(
    connection: Connection, file: BinaryIO, id_: str, offset: int, *, told: Callable[[int], None]
) -> int:
    """Send one piece from ``offset`` on; return where the next one begins."""
    end = min(offset + _PIECE_BYTES, file.seek(0, 2))
    headers = {
        **_TUS,
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": str(end - offset),
        "Upload-Offset": str(offset),
    }
    blocks = _blocks(file, offset, end, told=told)
    answer = connection.tried("PATCH", f"{_UPLOADS}/{id_}", headers, blocks)
    return int(answer.headers["Upload-Offset"])


def _blocks(
    file: BinaryIO, offset: int, end: int, *, told: Callable[[int], None]
) -> Iterator[bytes]:
    file.seek(offset)
    for place in range(offset, end, _BLOCK_BYTES):
        block = file.read(min(_BLOCK_BYTES, end - place))
        yield block
        told(place + len(block))


def _reached(connection: Connection, id_: str) -> int:
    """Ask how much the service has."""
    ask = partial(connection.tried, "HEAD", f"{_UPLOADS}/{id_}", _TUS)
    return int(connection.patience().until_done(ask).headers["Upload-Offset"])


def _withdraw(connection: Connection, id_: str, place: str) -> None:
    """Remove what has been sent, whole or not; what stays goes by itself in a day."""
    with suppress(ClientError):
        try:
            connection.tried("DELETE", f"{place}/{id_}", {})
        except RefusedError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                connection.tried("DELETE", f"{_UPLOADS}/{id_}", _TUS)


def _require_same(arrived: FileRef, path: Path) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if arrived.sha256 != digest:
        message = (
            f"{path.name} must not change while it is sent. Its SHA-256 is {digest} here. "
            f"Received by the service: {arrived.sha256}"
        )
        raise DamagedUploadError(message)
