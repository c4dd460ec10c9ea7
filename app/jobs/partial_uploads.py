"""Uploads that are not whole yet: what is known of each until it becomes a model or a dataset.

How much of one has come is the size of its file, and stands in no row: a process that is killed
while it writes leaves nothing to bring in line.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, Select, delete, insert, select, update

from app.jobs.errors import UploadNotFoundError
from app.jobs.tables import partial_uploads
from app.jobs.tenants import Whose
from app.jobs.uploads import Upload

#: How long an upload is waited for before its first piece, and after the last one began.
UNTOUCHED_FOR: Final = timedelta(hours=1)
PAUSED_FOR: Final = timedelta(days=1)


class PartialUpload(BaseModel):
    """A file of which not every byte has been accepted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str  #: That of the model or dataset that it becomes.
    kind: Upload
    filename: str  #: As the client calls it, made harmless.
    bytes: int  #: Of the whole file, as declared; at least 1.
    metadata: str  #: ``Upload-Metadata`` as it was sent.
    expires_at: datetime  #: Who has sent nothing until then begins anew.

    @property
    def key(self) -> str:
        """Where the artifact store has what has come of it."""
        return partial_key(self.id)

    def reached(self, size: int) -> int:
        """Return where its sender goes on when the file has ``size`` bytes.

        The last byte does not count until the file has been accepted: so whoever was cut off
        before the answer sends it again, and hears what became of the file.
        """
        return min(size, self.bytes - 1)


def partial_key(upload_id: str) -> str:
    """Return where the artifact store has what has come of an upload."""
    return f"uploads/{upload_id}"


def begin(connection: Connection, upload: PartialUpload, *, tenant: str) -> None:
    """Keep a new upload."""
    connection.execute(insert(partial_uploads).values(tenant=tenant, **upload.model_dump()))


def find(connection: Connection, upload_id: str, whose: Whose, *, at: datetime) -> PartialUpload:
    """Return an upload, or raise UploadNotFoundError."""
    return _only(connection, _unexpired(upload_id, whose, at=at), upload_id)


def hold(connection: Connection, upload_id: str, whose: Whose, *, at: datetime) -> PartialUpload:
    """Return an upload that nobody else can change until the transaction ends.

    Raises:
        UploadNotFoundError: there is no such upload, or it has expired.
    """
    query = _unexpired(upload_id, whose, at=at).with_for_update()
    return _only(connection, query, upload_id)


def wait_until(connection: Connection, upload: PartialUpload, moment: datetime) -> PartialUpload:
    """Have an upload expire at ``moment`` instead; return it."""
    its = partial_uploads.c.id == upload.id
    connection.execute(update(partial_uploads).where(its).values(expires_at=moment))
    return upload.model_copy(update={"expires_at": moment})


def forget(connection: Connection, upload_id: str) -> None:
    """Remove the row of an upload."""
    connection.execute(delete(partial_uploads).where(partial_uploads.c.id == upload_id))


def keys(connection: Connection) -> list[str]:
    """Return where the artifact store has what has come of all of them."""
    return [
        partial_key(upload_id) for upload_id in connection.scalars(select(partial_uploads.c.id))
    ]


def take_expired(connection: Connection, *, at: datetime) -> list[tuple[str, str]]:
    """Forget those that nobody went on with; return id and tenant of each."""
    expired = delete(partial_uploads).where(partial_uploads.c.expires_at <= at)
    taken = connection.execute(expired.returning(partial_uploads.c.id, partial_uploads.c.tenant))
    return [(row[0], row[1]) for row in taken]


def _unexpired(upload_id: str, whose: Whose, *, at: datetime) -> Select[Any]:
    columns = (partial_uploads.c[name] for name in PartialUpload.model_fields)
    ours = partial_uploads.c.id == upload_id, partial_uploads.c.expires_at > at
    return select(*columns).where(*ours, whose(partial_uploads))


def _only(connection: Connection, query: Select[Any], upload_id: str) -> PartialUpload:
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        message = f"there is no upload {upload_id!r:.80} that is not whole; it may have expired"
        raise UploadNotFoundError(message)
    return PartialUpload.model_validate(row)
