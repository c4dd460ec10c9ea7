"""A file that comes in pieces, and keeps what has come when its sender is cut off."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from app.jobs.errors import BackendUnavailableError, StorageFullError, UploadBusyError


class GrowingFile:
    """An open file that is written at its end, by no other process meanwhile.

    Every method raises StorageFullError when the disk is full, and BackendUnavailableError when it
    fails; what was written before stays.

    Args:
        path: Made if missing, with its folder.

    Raises:
        UploadBusyError: another process has it open.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _translated():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            message = "another request is still sending this upload"
            raise UploadBusyError(message) from error

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return os.fstat(self._file.fileno()).st_size

    def append(self, block: bytes) -> None:
        """Write ``block`` at the end."""
        rest = memoryview(block)
        with _translated():
            while rest:
                rest = rest[self._file.write(rest) :]

    def cut(self, size: int) -> None:
        """Forget what stands behind the first ``size`` bytes; it must not have fewer."""
        assert size <= self.size, "what never came cannot be kept"
        with _translated():
            self._file.truncate(size)

    def close(self) -> None:
        """Close it; what was written has reached the disk when this returns."""
        with self._file, _translated():
            os.fsync(self._file.fileno())


@contextmanager
def _translated() -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            message = "the disk of the files is full"
            raise StorageFullError(message) from error
        message = f"the folder for uploads cannot be written to: {error}"
        raise BackendUnavailableError(message) from error
