"""What a file weighs: its bytes, its hash, and how it is sent to who takes it compressed."""

from __future__ import annotations

import hashlib
import lzma
import shutil
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import zstandard

from app.jobs.formats import SUFFIXES, Encoding
from app.jobs.result import Compressed

_CHUNK_BYTES = 1 << 20
_GZIP = 31  #: zlib's number for the gzip format with the largest window.
#: What zlib looks for beside the most frequent bytes: repetition, repeated bytes alone, nothing.
#: Where most is zero and the rest is chance, repetition is often the worst, and takes a hundred
#: times as long as the others.
_GZIP_STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_RLE, zlib.Z_HUFFMAN_ONLY)
#: The highest level whose window every decoder accepts.
_ZSTD_LEVEL = 19
#: From this size on, what takes seconds must do: a level of zstd that is ten times as fast and 3 to
#: 10 % worse; and gzip does not look for repetition.
_LARGE_BYTES = 64 << 20
_ZSTD_LEVEL_IF_LARGE = 12
#: A compressed file must be smaller by this share to be worth keeping.
_LEAST_GAIN = 0.02


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


@dataclass(frozen=True)
class Weight:
    """A file, weighed."""

    bytes: int
    gzip_bytes: int
    sha256: str
    compressed: tuple[Compressed, ...]  #: Those that lie beside it.


@dataclass(frozen=True)
class Stretch:
    """A part of a file whose numbers are alike; the next one begins where it ends."""

    bytes: int | None  #: ``None`` for whatever is left.
    number_bytes: int  #: Of each of the numbers that it mostly consists of: 1, 2 or 4.


def weigh(path: Path, stretches: Sequence[Stretch] = (Stretch(None, 4),)) -> Weight:
    """Weigh the file, and leave its compressed forms beside it where they are smaller.

    Args:
        path: Of the file.
        stretches: What it consists of, from its beginning to its end.
    """
    size = path.stat().st_size
    begun: list[tuple[_Piece, list[Future[_Packed]]]] = []
    # Compressors let go of Python's lock.
    with ThreadPoolExecutor() as threads:
        for number, (piece, tries) in enumerate(_tries(size, stretches)):
            packed = [
                threads.submit(_packed, path, piece, f"{number}-{at}", each)
                for at, each in enumerate(tries)
            ]
            begun.append((piece, packed))
        smallest = [(piece, _smallest(each.result() for each in packed)) for piece, packed in begun]
    forms = {
        encoding: _joined([packed for piece, packed in smallest if piece.encoding == encoding])
        for encoding in ("xz", "zstd", "gzip")
    }
    return Weight(
        bytes=size,
        gzip_bytes=forms["gzip"].bytes,
        sha256=_sha256(path),
        compressed=tuple(_kept(forms.values(), path, size)),
    )


#: For numbers of which many are zero, and nothing else comes again. Of what repeats, the nearest
#: alone is looked at: with more to choose from, xz takes chance for repetition, and is larger by a
#: tenth.
_LZMA2 = {"id": lzma.FILTER_LZMA2, "dict_size": 4096, "nice_len": 273, "depth": 1}
#: By the bytes of a number, what each place in it tells of its byte, and what the byte before does.
#: Of single bytes now the one is smaller and now the other: at 80 % zeros the first by 1 to 3 %,
#: and by another 0.2 % with stretches of zeros cut at 64; from 90 % on the second by 2 to 4 %.
_PLACES = {
    1: (
        {"lc": 0, "lp": 0, "pb": 0, "mf": lzma.MF_BT2, "nice_len": 64},
        {"lc": 3, "lp": 0, "pb": 3, "mf": lzma.MF_BT2},
    ),
    2: ({"lc": 0, "lp": 1, "pb": 1, "mf": lzma.MF_BT2},),
    4: ({"lc": 0, "lp": 2, "pb": 2, "mf": lzma.MF_HC3},),
}
#: In little of floats and tables, such as the end of a file of eight bits, much does come again.
_LITTLE_BYTES = 1 << 20
_IF_LITTLE = {"mf": lzma.MF_BT4, "dict_size": 1 << 16, "depth": 0}


@dataclass(frozen=True)
class _Piece:
    """Bytes of a file that are packed by themselves."""

    encoding: Encoding
    start: int
    end: int


@dataclass(frozen=True)
class _Packed:
    encoding: Encoding
    path: Path
    bytes: int


def _tries(size: int, stretches: Iterable[Stretch]) -> Iterator[tuple[_Piece, list[_Compressor]]]:
    """Yield what to pack, and every way to; of xz, streams one after the other are one file."""
    is_large = size >= _LARGE_BYTES
    level = _ZSTD_LEVEL_IF_LARGE if is_large else _ZSTD_LEVEL
    yield _Piece("zstd", 0, size), [zstandard.ZstdCompressor(level).compressobj(size)]
    strategies = _GZIP_STRATEGIES[1:] if is_large else _GZIP_STRATEGIES
    yield (
        _Piece("gzip", 0, size),
        [zlib.compressobj(9, wbits=_GZIP, strategy=strategy) for strategy in strategies],
    )
    start = 0
    for stretch in stretches:
        end = size if stretch.bytes is None else start + stretch.bytes
        settings = list(_PLACES[stretch.number_bytes])
        if stretch.number_bytes > 1 and end - start <= _LITTLE_BYTES:
            settings.append(settings[0] | _IF_LITTLE)
        yield _Piece("xz", start, end), [_xz(each) for each in settings]
        start = end
    assert start == size, "the stretches are the file"


def _xz(settings: dict[str, int]) -> lzma.LZMACompressor:
    return lzma.LZMACompressor(filters=[_LZMA2 | settings])


def _packed(path: Path, piece: _Piece, suffix: str, compressor: _Compressor) -> _Packed:
    target = path.with_name(f"{path.name}{SUFFIXES[piece.encoding]}-{suffix}")
    with target.open("wb") as file:
        for chunk in _chunks(path, piece):
            file.write(compressor.compress(chunk))
        file.write(compressor.flush())
    return _Packed(piece.encoding, target, target.stat().st_size)


def _smallest(tried: Iterable[_Packed]) -> _Packed:
    """Return the smallest of several, and remove the others."""
    smallest, *others = sorted(tried, key=lambda packed: packed.bytes)
    for packed in others:
        packed.path.unlink()
    return smallest


def _joined(pieces: Sequence[_Packed]) -> _Packed:
    """Return the pieces as one file, the first one's."""
    first, *others = pieces
    with first.path.open("ab") as whole:
        for packed in others:
            with packed.path.open("rb") as file:
                shutil.copyfileobj(file, whole)
            packed.path.unlink()
    return _Packed(first.encoding, first.path, sum(packed.bytes for packed in pieces))


def _kept(several: Iterable[_Packed], path: Path, size: int) -> Iterator[Compressed]:
    """Yield what is smaller than the file, by then under its name, and remove the rest."""
    for packed in several:
        if packed.bytes > size * (1 - _LEAST_GAIN):
            packed.path.unlink()
            continue
        target = packed.path.rename(path.with_name(path.name + SUFFIXES[packed.encoding]))
        yield Compressed(encoding=packed.encoding, bytes=packed.bytes, sha256=_sha256(target))


def _chunks(path: Path, piece: _Piece) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(piece.start)
        for at in range(piece.start, piece.end, _CHUNK_BYTES):
            yield file.read(min(_CHUNK_BYTES, piece.end - at))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
