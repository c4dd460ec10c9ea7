"""What a payload would leave behind or find, and the look for it afterwards."""

from __future__ import annotations

import base64
import io
import marshal
import secrets
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

_MOST_BYTES = 2**26


class Planted:
    """A folder for markers, and a secret in a file and in the environment of the service.

    Args:
        folder: Existing and empty; outside what the service keeps.
    """

    def __init__(self, folder: Path) -> None:
        self._markers = folder / "markers"
        self._markers.mkdir()
        self.secret = secrets.token_hex(24)
        self.secret_file = folder / "secret.txt"
        self.secret_file.write_text(self.secret + "\n")
        self._needles = _spellings(self.secret)
        self._lock = threading.Lock()
        self._found: list[str] = []

    def marker(self, name: str) -> str:
        """Return the path of a file that only a payload makes."""
        return str(self._markers / name)

    def code(self, name: str) -> str:
        """Return a function of one argument that makes the marker ``name``, as Keras stores one."""
        source = f"lambda x: (open({self.marker(name)!r}, 'w'), x)[1]"
        [function, *_] = compile(source, "payload", "eval").co_consts
        return base64.b64encode(marshal.dumps(function)).decode()

    def pickled(self, name: str) -> _Touching:
        """Return an object that makes the marker ``name`` when it is unpickled."""
        return _Touching(self.marker(name))

    def markers(self) -> list[str]:
        """Return the names of the payloads that ran."""
        return sorted(path.name for path in self._markers.iterdir())

    def look_at(self, content: bytes, where: str) -> None:
        """Remember ``where``, if the secret is in the bytes, in any of the ways it could be."""
        if any(needle in part for part in _parts(content) for needle in self._needles):
            with self._lock:
                self._found.append(where)

    def look_below(self, folder: Path) -> None:
        """Look at every file of the folder."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.look_at(path.read_bytes(), str(path))

    def found(self) -> list[str]:
        """Return where the secret was."""
        return sorted(set(self._found))


class _Touching:
    """Makes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self._path, "w")


def _spellings(secret: str) -> list[bytes]:
    """Return the secret as text, in base64, and as bytes that were taken for weights."""
    raw = secret.encode()
    numbers = np.frombuffer(raw, np.uint8)
    return [
        raw,
        base64.b64encode(raw).rstrip(b"="),
        secret.encode("utf-16-le"),
        numbers.astype(np.float32).tobytes(),
        numbers.astype(np.float64).tobytes(),
    ]


def _parts(content: bytes) -> Iterator[bytes]:
    """Yield the bytes, and, of an archive, those of its members."""
    yield content
    if not content.startswith(b"PK"):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.infolist():
                # Bombs are uploads of ours, and hold no secret.
                if member.file_size < _MOST_BYTES:
                    yield archive.read(member)
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, RuntimeError, EOFError):
        return
