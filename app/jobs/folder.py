"""Files in a folder of this machine, or of a file system that several share."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path
from typing import IO, Final
from urllib.parse import unquote, urlsplit

import obstore
from obstore.store import LocalStore

#: How obstore calls a file until it is whole and gets its name.
_UNFINISHED = re.compile(r"#\d+$")


class Folder:
    """Where files lie by their keys. What goes wrong is raised as obstore or the system say it.

    Args:
        url: ``file://`` and an absolute path; made if missing.
    """

    chunk_bytes: Final = 1 << 20

    def __init__(self, url: str) -> None:
        self.objects = LocalStore.from_url(url, mkdir=True, automatic_cleanup=True)
        #: On the disk that files fill.
        self.folder = Path(unquote(urlsplit(url).path))

    def put(self, key: str, file: IO[bytes]) -> None:
        """Store a file under its key, and wait until it has reached the disk."""
        obstore.put(self.objects, key, file)
        self._sync(key)

    def growing_path(self, key: str) -> Path:
        """Return where a file lies that comes in pieces."""
        return self.folder / key

    def rename(self, key: str, new_key: str) -> None:
        """Give a file another key, and wait until that has reached the disk."""
        obstore.rename(self.objects, key, new_key)
        self._sync(new_key)

    def delete(self, key: str) -> None:
        """Remove a file; FileNotFoundError where there is none."""
        obstore.delete(self.objects, key)

    def delete_unfinished(self, *, before: datetime) -> None:
        """Remove what processes left that were killed while they wrote, ``before`` that moment."""
        for path in self.folder.rglob("*"):
            if _UNFINISHED.search(path.name) and path.stat().st_mtime < before.timestamp():
                path.unlink(missing_ok=True)

    def _sync(self, key: str) -> None:
        """Wait until the file, and the names that lead to it, are on the disk.

        obstore does not: after a power cut, what it had moved to its place could be empty.
        """
        file = self.folder / key
        for path in (file, *file.relative_to(self.folder).parents):
            descriptor = os.open(self.folder / path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
