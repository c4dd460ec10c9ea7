"""Files in a bucket of an S3-compatible object store, for any number of machines.

Where the store is and who asks, obstore reads as every client of S3 does: ``AWS_ENDPOINT_URL``,
``AWS_REGION``, ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``, or the role of the machine.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import obstore
from obstore.store import S3Store

if TYPE_CHECKING:
    # There for type checkers only.
    from obstore.store import ClientConfig, RetryConfig

_PART_BYTES = 8 << 20
_PARTS_AT_ONCE = 4
#: An endpoint says itself whether it is spoken to by HTTP.
_CLIENT: Final[ClientConfig] = {
    "allow_http": True,
    "connect_timeout": timedelta(seconds=5),
    "timeout": timedelta(seconds=60),
}
#: A store that is away is said to be before a caller gives up.
_RETRIES: Final[RetryConfig] = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}
#: Nobody goes on with an upload that has not grown for so long: its row is gone.
_FORGOTTEN_AFTER = timedelta(days=2)


class Bucket:
    """Where files lie by their keys. What goes wrong is raised as obstore or the system say it.

    Args:
        url: ``s3://``, the bucket, which exists, and perhaps a prefix.
        growing_in: Folder of this machine for files that come in pieces, since an object cannot
            grow; made if missing. A sender that reaches another machine begins anew.
        download_endpoint: Where callers reach the store; empty for nowhere.
    """

    chunk_bytes: Final = _PART_BYTES

    def __init__(self, url: str, *, growing_in: Path, download_endpoint: str) -> None:
        self.objects = S3Store.from_url(url, client_options=_CLIENT, retry_config=_RETRIES)
        self._signer = (
            S3Store.from_url(url, endpoint=download_endpoint, client_options=_CLIENT)
            if download_endpoint
            else None
        )
        growing_in.mkdir(parents=True, exist_ok=True)
        #: On the disk that files fill until they are whole.
        self.folder = growing_in
        self._forget_abandoned()

    def put(self, key: str, file: IO[bytes]) -> None:
        """Store a file under its key, in parts where it is large; it is safe on return."""
        # A caller who gets it from the store itself is to know what it is called.
        name = key.rpartition("/")[2]
        obstore.put(
            self.objects,
            key,
            file,
            attributes={"Content-Disposition": f'attachment; filename="{name}"'},
            chunk_size=_PART_BYTES,
            max_concurrency=_PARTS_AT_ONCE,
        )

    def growing_path(self, key: str) -> Path:
        """Return where a file lies that comes in pieces."""
        return self.folder / key

    def rename(self, key: str, new_key: str) -> None:
        """Move a file that has come in pieces to its lasting key, or back."""
        growing = self.growing_path(key)
        if growing.is_file():
            with growing.open("rb") as file:
                self.put(new_key, file)
            growing.unlink()
            return
        with self.growing_path(new_key).open("wb") as file:
            for chunk in obstore.get(self.objects, key).stream(min_chunk_size=_PART_BYTES):
                file.write(chunk)
        obstore.delete(self.objects, key)

    def delete(self, key: str) -> None:
        """Remove a file; one that is not there is no error."""
        self.growing_path(key).unlink(missing_ok=True)
        obstore.delete(self.objects, key)

    def delete_unfinished(self, *, before: datetime) -> None:
        """Leave it to the store: a rule of the bucket ends uploads that were broken off."""

    def link(self, key: str, *, expires_in: timedelta) -> str | None:
        """Return a URL of the file that needs no key; ``None`` where callers reach no store."""
        if self._signer is None:
            return None
        return obstore.sign(self._signer, "GET", key, expires_in)

    def _forget_abandoned(self) -> None:
        oldest = time.time() - _FORGOTTEN_AFTER.total_seconds()
        for path in self.folder.rglob("*"):
            if path.is_file() and path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)
