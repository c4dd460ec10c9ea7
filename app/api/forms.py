"""Multipart forms, streamed: each file goes straight to its place on disk and is hashed on the way.

Memory does not grow with the upload, a file is cut off at its limit, and whatever way the request
ends, nothing stays behind.
"""

from __future__ import annotations

import hashlib
import shutil
import time
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from anyio import to_thread
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from app.api.errors import (
    InvalidRequestError,
    MalformedRequestError,
    UnsupportedContentTypeError,
)
from app.jobs.errors import BackendUnavailableError, FieldError, TooLargeError

#: Room for boundaries, part headers and the text parts of a form.
FORM_OVERHEAD_BYTES = 2**20

#: What is parsed and written in one go, at least; a thread is entered once for each. Many uploads
#: arrive at once, and each holds as much.
_BLOCK_BYTES = 2**17
_LONGEST_FILENAME = 200
#: Nobody is silent for so long in a form, or takes so long to look at it.
_ABANDONED_AFTER_SECONDS = 3600.0


@dataclass(frozen=True)
class ReceivedFile:
    """An uploaded file, whole, in a folder that goes away with the request."""

    path: Path
    filename: str  #: As the client calls it, made harmless; for display, never a path.
    bytes: int
    sha256: str


@dataclass(frozen=True)
class FormLimits:
    """The parts that a form may have.

    Args:
        files: Name of each file part, and the most bytes it may have.
        texts: Name of each text part, and what is called with its bytes as soon as they are
            complete, so that a fault in them ends the request before the next file comes.
        max_text_bytes: Most bytes of a text part.
    """

    files: Mapping[str, int]
    texts: Mapping[str, Callable[[bytes], None]] = field(
        default_factory=dict[str, Callable[[bytes], None]]
    )
    max_text_bytes: int = 0

    @property
    def max_bytes(self) -> int:
        """Most bytes of a whole form."""
        return sum(self.files.values()) + FORM_OVERHEAD_BYTES


@asynccontextmanager
async def receive_form(
    request: Request, limits: FormLimits, *, folder: Path
) -> AsyncGenerator[dict[str, ReceivedFile]]:
    """Receive the form of ``request``; yield its files by the name of their part.

    Args:
        request: Its body must not have been read.
        limits: The parts that are taken; any other is refused.
        folder: An existing one, on the disk where the files shall lie.

    Raises:
        TooLargeError: a part is larger than its limit; raised before the rest is read.
        InvalidRequestError: a part is unknown, comes twice, or is no file where one is due.
        MalformedRequestError: the body is no form, or breaks off.
        UnsupportedContentTypeError: the request does not call itself a form.
        BackendUnavailableError: the disk is full, or fails.
    """
    boundary = _boundary(request)
    _refuse_length(request, limits.max_bytes)
    with TemporaryDirectory(dir=folder) as place:
        try:
            files = await _read(request, _FormReader(boundary, limits, Path(place)))
        except FormParserError as error:
            message = f"the body must be a well-formed form. {error}"
            raise MalformedRequestError(message) from error
        except ClientDisconnect as error:
            message = "the client went away before the form was complete"
            raise MalformedRequestError(message) from error
        except OSError as error:
            message = f"the folder for uploads cannot be written to: {error}"
            raise BackendUnavailableError(message) from error
        yield files


def remove_abandoned(folder: Path) -> None:
    """Remove what processes left in ``folder`` that were killed while they received a form."""
    before = time.time() - _ABANDONED_AFTER_SECONDS
    for place in folder.iterdir():
        # Another process may be at work here, and be done with a file in this very moment.
        with suppress(FileNotFoundError):
            if max(path.stat().st_mtime for path in (place, *place.rglob("*"))) < before:
                shutil.rmtree(place)


def display_name(raw: str) -> str:
    r"""Return what can be shown of a client's file name: no folders, no control characters.

    >>> display_name("C:\\models\\cnn.keras"), display_name("../../etc/passwd"), display_name("..")
    ('cnn.keras', 'passwd', 'unnamed')
    """
    last = unicodedata.normalize("NFC", raw).replace("\\", "/").rsplit("/", 1)[-1]
    harmless = "".join(letter for letter in last if letter.isprintable()).strip(" .")
    return harmless[-_LONGEST_FILENAME:] or "unnamed"


def _boundary(request: Request) -> bytes:
    content_type = request.headers.get("content-type", "")
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        message = f"Content-Type must be multipart/form-data. Received: {content_type!r}"
        raise UnsupportedContentTypeError(message)
    if b"boundary" not in options:
        message = f"Content-Type must name a boundary. Received: {content_type!r}"
        raise MalformedRequestError(message)
    return options[b"boundary"]


async def _read(request: Request, reader: _FormReader) -> dict[str, ReceivedFile]:
    try:
        async for block in blocks(request):
            await to_thread.run_sync(reader.feed, block)
        return reader.finish()
    finally:
        reader.close()


def _refuse_length(request: Request, max_bytes: int) -> None:
    """Refuse by the declared length, before the client has sent anything."""
    declared = request.headers.get("content-length", "0")
    if int(declared) > max_bytes:
        message = f"the request must have at most {max_bytes} bytes. Received: {declared}"
        raise TooLargeError(message)


async def blocks(request: Request) -> AsyncIterator[bytes]:
    """Yield the body of ``request`` in blocks that are worth a thread each; the last is smaller.

    Raises:
        ClientDisconnect: the body breaks off; what came since the last block is lost.
    """
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        chunks.append(chunk)
        size += len(chunk)
        if size >= _BLOCK_BYTES:
            yield b"".join(chunks)
            chunks.clear()
            size = 0
    yield b"".join(chunks)


class _Part(Protocol):
    """Takes the bytes of one part."""

    def write(self, data: bytes) -> None: ...
    def end(self) -> None: ...
    def close(self) -> None: ...


class _FilePart:
    """A part that becomes a file."""

    def __init__(self, name: str, filename: str, *, path: Path, max_bytes: int) -> None:
        self._name = name
        self._filename = filename
        self._path = path
        self._max_bytes = max_bytes
        self._bytes = 0
        self._hash = hashlib.sha256()
        self._file = path.open("xb")

    def write(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._bytes > self._max_bytes:
            message = f"{self._name} must have at most {self._max_bytes} bytes. Received: more"
            raise TooLargeError(message)
        self._hash.update(data)
        self._file.write(data)

    def end(self) -> None:
        self._file.close()

    def close(self) -> None:
        self._file.close()

    def received(self) -> ReceivedFile:
        return ReceivedFile(self._path, self._filename, self._bytes, self._hash.hexdigest())


class _TextPart:
    """A part that is small enough to be kept in memory."""

    def __init__(self, name: str, take: Callable[[bytes], None], *, max_bytes: int) -> None:
        self._name = name
        self._take = take
        self._max_bytes = max_bytes
        self._text = bytearray()

    def write(self, data: bytes) -> None:
        self._text += data
        if len(self._text) > self._max_bytes:
            message = f"{self._name} must have at most {self._max_bytes} bytes. Received: more"
            raise TooLargeError(message)

    def end(self) -> None:
        self._take(bytes(self._text))

    def close(self) -> None:
        self._text.clear()


class _FormReader:
    """Turns the parser's callbacks into parts."""

    def __init__(self, boundary: bytes, limits: FormLimits, place: Path) -> None:
        self._limits = limits
        self._place = place
        self._parts: dict[str, _Part] = {}
        self._current: _Part | None = None
        self._headers: dict[bytes, bytes] = {}
        self._field = b""
        self._value = b""
        self._complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._headers.clear,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def feed(self, block: bytes) -> None:
        self._parser.write(block)

    def finish(self) -> dict[str, ReceivedFile]:
        if not self._complete:
            message = "the form must end with its closing boundary. Received: less"
            raise MalformedRequestError(message)
        return {
            name: part.received()
            for name, part in self._parts.items()
            if isinstance(part, _FilePart)
        }

    def close(self) -> None:
        for part in self._parts.values():
            part.close()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = _text(options.get(b"name", b""))
        if name in self._parts:
            raise _refused(name, f"{name} must be given once. Received: twice")
        self._current = self._parts[name] = self._opened(name, options.get(b"filename"))

    def _opened(self, name: str, filename: bytes | None) -> _Part:
        if name in self._limits.texts:
            take = self._limits.texts[name]
            return _TextPart(name, take, max_bytes=self._limits.max_text_bytes)
        if name not in self._limits.files:
            known = ", ".join([*self._limits.files, *self._limits.texts])
            raise _refused(name, f"a part must be one of {known}. Received: {name[:80]!r}")
        if filename is None:
            raise _refused(name, f"{name} must be a file (curl: -F {name}=@path). Received: text")
        # The path is made of a name of ours: it was just found among the limits.
        path = self._place / name
        shown = display_name(_text(filename))
        return _FilePart(name, shown, path=path, max_bytes=self._limits.files[name])

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current is not None:
            self._current.write(data[start:end])

    def _on_part_end(self) -> None:
        if self._current is not None:
            self._current.end()
        self._current = None

    def _on_end(self) -> None:
        self._complete = True


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace")


def _refused(name: str, message: str) -> InvalidRequestError:
    return InvalidRequestError(FieldError(pointer=f"/{name[:80]}", message=message))
