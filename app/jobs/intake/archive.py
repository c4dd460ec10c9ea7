"""Zip archives from strangers: read only when directory and content agree in every respect.

What ``numpy.savez`` and Keras write passes; a member that another program would see differently
(a duplicate, a prefix, a name that climbs out of a folder) does not.
"""

from __future__ import annotations

import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from app.jobs.errors import RefusedFileError

MAGIC = b"PK\x03\x04"

_MAX_TOTAL_BYTES = 64 * 2**30
#: Up to this size a member may be packed as tightly as it likes: it can be held in memory.
_FREE_BYTES = 64 * 2**20
_MAX_EXPANSION = 200
_METHODS = frozenset(
    {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
)
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_BLOCK_BYTES = 2**20

_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    struct.error,
)


@dataclass(frozen=True)
class Expected:
    """What an archive is taken for."""

    maker: str  #: Who writes such archives.
    hint: str
    max_members: int = 10_000
    has_folders: bool = False  #: Whether folders may have entries of their own.


OF_ARRAYS = Expected(
    "Keras or NumPy", "Save the file again with Keras or NumPy and upload it unchanged."
)
OF_FILES = Expected(
    "a packer of plain files",
    "Pack the folder again, with nothing in it but the files, and upload that zip.",
    max_members=200_000,
    has_folders=True,
)


class Archive:
    """An archive whose directory has been checked; contents are checked as they are read."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        """Wrap ``file``; ``open_archive`` does the checking."""
        self._file = file
        self._members = {
            member.filename: member for member in file.infolist() if not member.is_dir()
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the members, in the order of the archive."""
        return tuple(self._members)

    def bytes_of(self, name: str) -> int:
        """Size of a member once unpacked, as the directory declares it."""
        return self._members[name].file_size

    @contextmanager
    def open(self, name: str) -> Generator[IO[bytes], None, None]:
        """Open a member for reading; read to its end, it has been held against its checksum."""
        with _translated(), self._file.open(self._members[name]) as stream:
            yield stream

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """Return the content of a member of at most ``max_bytes``.

        Raises:
            RefusedFileError: ``too_large`` or ``damaged``.
        """
        if self.bytes_of(name) > max_bytes:
            raise RefusedFileError(
                "too_large",
                f"{name} must have at most {max_bytes} bytes. Received: {self.bytes_of(name)}.",
                hint="Save the model again from Keras and upload that file.",
            )
        with self.open(name) as stream:
            return stream.read()

    def copy(self, name: str, to: BinaryIO) -> None:
        """Write the content of a member to ``to``, block by block.

        Raises:
            RefusedFileError: ``damaged``.
            OSError: ``to`` takes no more, which says nothing about the archive.
        """
        to.writelines(self._blocks(name))

    def _blocks(self, name: str) -> Iterator[bytes]:
        with self.open(name) as stream:
            while block := stream.read(_BLOCK_BYTES):
                yield block


@contextmanager
def open_archive(path: Path, expected: Expected = OF_ARRAYS) -> Generator[Archive, None, None]:
    """Open the archive at ``path``, a file that begins with ``MAGIC``.

    Args:
        path: Where it is.
        expected: What it is taken for.

    Raises:
        RefusedFileError: ``truncated``, ``damaged``, ``unsafe_archive`` or ``too_large``.
    """
    try:
        with _opened(path) as file:
            members = file.infolist()
            _require_bounded(members, expected)
            for member in members:
                _require_plain(member, expected)
            _require_distinct(members)
            with path.open("rb") as raw, _translated():
                _require_agreement(raw, members, file.start_dir)
            yield Archive(file)
    except _UnsafeError as error:
        raise _unsafe(error, expected) from error


@contextmanager
def _opened(path: Path) -> Generator[zipfile.ZipFile]:
    try:
        file = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise RefusedFileError(
            "truncated",
            "The archive's directory, which stands at its end, is missing or broken.",
            hint="The upload or the file was cut short: upload it again.",
        ) from error
    except _BROKEN as error:
        raise damaged() from error
    with file:
        yield file


@contextmanager
def _translated() -> Generator[None, None, None]:
    try:
        yield
    except _BROKEN as error:
        raise damaged() from error


def damaged() -> RefusedFileError:
    """The refusal of an archive whose content does not match its own description."""
    return RefusedFileError(
        "damaged",
        "The archive's content does not match its checksums.",
        hint="The file was changed or cut on its way: save it again and upload it again.",
    )


class _UnsafeError(Exception):
    """The archive is not what anybody's packer writes; its words continue "The archive "."""


def _unsafe(error: _UnsafeError, expected: Expected) -> RefusedFileError:
    return RefusedFileError(
        "unsafe_archive",
        f"The archive {error}, as no archive of {expected.maker} does.",
        hint=expected.hint,
    )


def _require_bounded(members: list[zipfile.ZipInfo], expected: Expected) -> None:
    total = sum(member.file_size for member in members)
    bombs = (
        member.filename
        for member in members
        if member.file_size > _FREE_BYTES + _MAX_EXPANSION * member.compress_size
    )
    bomb = next(bombs, None)
    if len(members) <= expected.max_members and total <= _MAX_TOTAL_BYTES and bomb is None:
        return
    fault = (
        f"{bomb} unpacks to more than {_MAX_EXPANSION} times its stored size"
        if bomb is not None
        else f"it holds {len(members)} members of {total} bytes"
    )
    raise RefusedFileError(
        "too_large",
        f"The archive declares more than it can mean: {fault}.",
        hint=expected.hint,
    )


def _require_distinct(members: list[zipfile.ZipInfo]) -> None:
    if len({member.filename for member in members}) < len(members):
        raise _UnsafeError("has two members of the same name")


def _require_plain(member: zipfile.ZipInfo, expected: Expected) -> None:
    name = member.filename.removesuffix("/") if expected.has_folders else member.filename
    parts = name.split("/")
    if (
        member.orig_filename != member.filename
        or not name
        or not name.isprintable()
        or "\\" in name
    ):
        raise _UnsafeError("has a member whose name is not plain text")
    if name.startswith("/") or ":" in parts[0] or {"", ".", ".."} & set(parts):
        raise _UnsafeError(f"has a member that is no file of the archive's own folder ({name})")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise _UnsafeError(f"has a link ({name})")
    if member.flag_bits & _ENCRYPTED:
        raise _UnsafeError(f"has an encrypted member ({name})")
    if member.compress_type not in _METHODS:
        raise _UnsafeError(f"has a member packed by an unknown method ({name})")


def _require_agreement(raw: BinaryIO, members: list[zipfile.ZipInfo], directory: int) -> None:
    """Refuse gaps in front, overlaps, and local names that differ from the directory's."""
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.header_offset < end or (end == 0 and member.header_offset > 0):
            raise _UnsafeError("hides bytes before or inside a member")
        raw.seek(member.header_offset)
        header = _LOCAL_HEADER.unpack(raw.read(_LOCAL_HEADER.size))
        name_bytes, extra_bytes = header[9], header[10]
        local = raw.read(name_bytes)
        if header[0] != MAGIC or local.decode("utf-8", "replace") != member.filename:
            raise _UnsafeError(f"names a member in two ways ({member.filename})")
        end = (
            member.header_offset
            + _LOCAL_HEADER.size
            + name_bytes
            + extra_bytes
            + member.compress_size
        )
    if end > directory:
        raise _UnsafeError("hides bytes before or inside a member")
