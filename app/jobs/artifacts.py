"""The artifact store: files too large for the database, each under a key that we made."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from pydantic import BaseModel, ConfigDict

from app.jobs.bucket import Bucket
from app.jobs.errors import (
    ArtifactNotFoundError,
    BackendUnavailableError,
    DamagedFileError,
    StorageFullError,
)
from app.jobs.folder import Folder
from app.jobs.growing import GrowingFile
from app.jobs.job import Progress

#: Written to see whether writing works.
_PROBE = "probe"
#: Names joined by ``/``; none begins with a dot, so none leads upwards or to the root.
_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
#: How long who asks for a link may take to begin.
_LINK_HOLDS = timedelta(minutes=5)


class StoredArtifact(BaseModel):
    """A downloadable file of a job, as the service keeps it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str  #: Unique in the job, for example ``model.keras``.
    key: str  #: Where the artifact store has it.
    format: str  #: As the spec calls it, for example ``keras``.
    bytes: int
    sha256: str  #: In hexadecimal.
    compressed_bytes: int = 0  #: Of its compressed forms, which lie beside it, all together.


class StoredCheckpoint(BaseModel):
    """Where a job's training can be gone on with, by any worker, as the service keeps it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str  #: Where the artifact store has it.
    sha256: str  #: In hexadecimal.
    progress: Progress  #: How far the training was.


def job_prefix(job_id: str) -> str:
    """Return the key below which everything lies that the attempts of a job made."""
    return f"jobs/{job_id}"


def artifact_key(job_id: str, fence: int, name: str) -> str:
    """Return the key of one file of one attempt; no other attempt writes there."""
    return f"{job_prefix(job_id)}/{fence}/{name}"


def checkpoints_prefix(job_id: str) -> str:
    """Return the key below which the checkpoints of all attempts lie."""
    return f"{job_prefix(job_id)}/checkpoints"


def checkpoint_key(job_id: str, fence: int, step: int) -> str:
    """Return the key of what one attempt wrote down after ``step``; no other writes there."""
    return f"{checkpoints_prefix(job_id)}/{fence}-{step}"


class ArtifactStore:
    """Files by key. A file is there whole or not at all, and read only as what it was.

    Who reads a file says what its SHA-256 must be, as the row that names the key has it.

    Every method raises BackendUnavailableError when the store cannot be reached, and ValueError
    for a key that is not relative or leads upwards: keys are ours, so that is a bug.

    Args:
        url: ``file://`` and the absolute path of a folder, which is made if missing; or ``s3://``,
            a bucket and perhaps a prefix.
        growing_in: Folder of this machine for files that come in pieces; a bucket needs one, a
            folder has them beside the others.
        keep_free_bytes: What files leave of this machine's disk: the database, which has to say
            that a job has failed, often lies on the same one.
        download_endpoint: Where callers reach the bucket's store themselves; empty for nowhere.
    """

    def __init__(
        self,
        url: str,
        *,
        growing_in: Path | None = None,
        keep_free_bytes: int = 0,
        download_endpoint: str = "",
    ) -> None:
        with _translated(url):
            match url.partition("://")[0]:
                case "file":
                    self._place: Folder | Bucket = Folder(url)
                case "s3":
                    assert growing_in is not None, "an object cannot grow"
                    self._place = Bucket(
                        url, growing_in=growing_in, download_endpoint=download_endpoint
                    )
                case _:
                    message = (
                        "the artifact store's URL must begin with file:// or s3://. "
                        f"Received: {url}"
                    )
                    raise ValueError(message)
        self._store = self._place.objects
        self._keep_free_bytes = keep_free_bytes

    def is_reachable(self) -> bool:
        """Whether a file can be stored now."""
        try:
            with _translated(_PROBE):
                obstore.put(self._store, _PROBE, b".")
        except BackendUnavailableError:
            return False
        return True

    def require_room(self, more_bytes: int) -> None:
        """Raise StorageFullError when ``more_bytes`` would leave too little of the disk."""
        with _translated(""):
            free = shutil.disk_usage(self._place.folder).free
        if free < more_bytes + self._keep_free_bytes:
            message = (
                f"the disk of the files must keep {self._keep_free_bytes} bytes free. "
                f"Received: {more_bytes} more, with {free} free"
            )
            raise StorageFullError(message)

    def put(self, key: str, path: Path) -> None:
        """Store a copy of the file at ``path``; what was there under ``key`` is replaced.

        When it returns, the copy has reached the disk, so that a row may name it.

        Raises:
            StorageFullError: it would leave too little of the disk.
        """
        if isinstance(self._place, Folder):
            self.require_room(path.stat().st_size)
        with path.open("rb") as file, _translated(key):
            self._place.put(_checked(key), file)

    def growing(self, key: str) -> GrowingFile:
        """Open a file that comes in pieces; a new one is empty. Who asks closes it.

        Raises:
            UploadBusyError: another process has it open.
        """
        return GrowingFile(self._place.growing_path(_checked(key)))

    def grown(self, key: str) -> int:
        """Return how many bytes have come of a file that comes in pieces; 0 before the first."""
        try:
            return self._place.growing_path(_checked(key)).stat().st_size
        except FileNotFoundError:
            return 0

    def rename(self, key: str, new_key: str) -> None:
        """Give a file that came in pieces its lasting key, or its former one again.

        What was there under ``new_key`` is replaced. When it returns, that has reached the disk,
        so that a row may name the file.

        Raises:
            ArtifactNotFoundError: there is no such file.
        """
        with _translated(key):
            self._place.rename(_checked(key), _checked(new_key))

    def fetch(
        self, key: str, path: Path, *, sha256: str, between: Callable[[], None] | None = None
    ) -> None:
        """Write the file to ``path``, whose folder exists.

        Args:
            key: Which file.
            path: Where to; what is there after an error is not to be used.
            sha256: What it must be, in hexadecimal; the bytes are hashed on their way.
            between: Called again and again meanwhile; what it raises ends the copying.

        Raises:
            ArtifactNotFoundError: there is no such file.
            DamagedFileError: it is not what it was any more.
        """
        chunks = self._chunks(key, 0, self.size(key))
        digest = hashlib.sha256()
        with path.open("wb") as file:
            for chunk in chunks:
                if between is not None:
                    between()
                digest.update(chunk)
                file.write(chunk)
        _require_digest(key, digest.hexdigest(), sha256)

    def stream(
        self, key: str, *, sha256: str, start: int = 0, end: int | None = None
    ) -> Iterator[bytes]:
        """Return the bytes from ``start`` to before ``end`` in chunks; ``None`` for the last.

        The whole file is read and hashed before, whatever part of it is wanted: so an error comes
        from the call, never from a chunk, when half of an answer has been sent.

        Raises:
            ArtifactNotFoundError: there is no such file.
            DamagedFileError: it is not what it was any more; ``sha256`` says what it must be.
        """
        size = self._verified_size(key, sha256)
        return self._chunks(key, start, size if end is None else min(end, size))

    def link(self, key: str, *, sha256: str) -> str | None:
        """Return a URL where the file can be had from the store itself, for some minutes.

        The whole file is read and hashed before, as for ``stream``.

        Returns:
            ``None`` where callers cannot reach the store: they have to be sent the bytes.

        Raises:
            ArtifactNotFoundError: there is no such file.
            DamagedFileError: it is not what it was any more; ``sha256`` says what it must be.
        """
        if isinstance(self._place, Folder):
            return None
        with _translated(key):
            link = self._place.link(_checked(key), expires_in=_LINK_HOLDS)
        if link is not None:
            self._verified_size(key, sha256)
        return link

    def _verified_size(self, key: str, sha256: str) -> int:
        size = self.size(key)
        digest = hashlib.sha256()
        for chunk in self._chunks(key, 0, size):
            digest.update(chunk)
        _require_digest(key, digest.hexdigest(), sha256)
        return size

    def _chunks(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        # Not obstore's own stream: on a file that was cut off meanwhile, it never ends.
        for begin in range(start, stop, self._place.chunk_bytes):
            end = min(begin + self._place.chunk_bytes, stop)
            with _translated(key):
                chunk = bytes(obstore.get_range(self._store, key, start=begin, end=end))
            if len(chunk) < end - begin:
                message = f"the artifact store has lost the end of {key}"
                raise BackendUnavailableError(message)
            yield chunk

    def size(self, key: str) -> int:
        """Return the file's size in bytes.

        Raises:
            ArtifactNotFoundError: there is no such file.
        """
        with _translated(key):
            return obstore.head(self._store, _checked(key))["size"]

    def written_before(self, moment: datetime) -> list[str]:
        """Return the keys of the files that were written before ``moment``."""
        with _translated(""):
            # obstore's type for tables stays unknown where arro3 is not installed.
            listed = self._store.list()  # pyright: ignore[reportUnknownMemberType]
            files = [meta for chunk in listed for meta in chunk]
        return [meta["path"] for meta in files if meta["last_modified"] < moment]

    def delete_unfinished(self, *, before: datetime) -> None:
        """Remove what processes left that were killed while they wrote, ``before`` that moment."""
        with _translated(""):
            self._place.delete_unfinished(before=before)

    def delete(self, key: str) -> None:
        """Remove the file; one that is not there is no error."""
        with _translated(key):
            try:
                self._place.delete(_checked(key))
            except FileNotFoundError:
                return

    def delete_below(self, prefix: str) -> None:
        """Remove every file whose key continues ``prefix`` after a ``/``; or else the one file.

        So it removes whatever ``Store.delete_job`` names, be it a folder or a file.
        """
        with _translated(prefix):
            # obstore's type for tables stays unknown where arro3 is not installed.
            listed = self._store.list(_checked(prefix))  # pyright: ignore[reportUnknownMemberType]
            keys = [meta["path"] for chunk in listed for meta in chunk]
        for key in keys or [prefix]:
            self.delete(key)


def _require_digest(key: str, found: str, expected: str) -> None:
    if found != expected:
        message = (
            f"the file stored under {key} must have the SHA-256 that it was stored with, "
            f"{expected}. Received: {found}"
        )
        raise DamagedFileError(message)


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        message = f"a key must be plain names joined by '/'. Received: {key!r}"
        raise ValueError(message)
    return key


@contextmanager
def _translated(key: str) -> Generator[None]:
    try:
        yield
    except FileNotFoundError as error:
        message = f"no file is stored under {key}"
        raise ArtifactNotFoundError(message) from error
    except (BaseError, OSError) as error:
        message = "the artifact store does not answer"
        raise BackendUnavailableError(message) from error
