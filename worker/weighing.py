"""What a file weighs: its bytes, its hash, and how it is sent to who takes it compressed."""

from __future__ import annotations

import hashlib
import lzma
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import zstandard

from app.jobs.formats import SUFFIXES, Encoding
from app.jobs.result import Compressed

_CHUNK_BYTES = 1 << 20
_GZIP = 31  #: zlib's number for the gzip format with the largest window.
#: The highest level whose window every decoder accepts.
_ZSTD_LEVEL = 19
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


def weigh(path: Path, *, number_bytes: int = 4) -> Weight:
    """Weigh the file, and leave its compressed forms beside it where they are smaller.

    Args:
        path: Of the file.
        number_bytes: Of each of the numbers that most of the file consists of: 1, 2 or 4.
    """
    size = path.stat().st_size
    tries: list[tuple[Encoding, _Compressor]] = [
        ("zstd", zstandard.ZstdCompressor(_ZSTD_LEVEL).compressobj(size)),
        *(("xz", _xz(places)) for places in _PLACES[number_bytes]),
        ("gzip", zlib.compressobj(9, wbits=_GZIP)),
    ]
    # Compressors let go of Python's lock.
    with ThreadPoolExecutor() as threads:
        begun = [threads.submit(_packed, path, at, *each) for at, each in enumerate(tries)]
        packed = [each.result() for each in begun]
    xz, zstd, gzip = (_smallest(packed, encoding) for encoding in ("xz", "zstd", "gzip"))
    return Weight(
        bytes=size,
        gzip_bytes=gzip.bytes,
        sha256=_sha256(path),
        compressed=tuple(_kept((xz, zstd, gzip), path, size)),
    )


#: For numbers of which many are zero, and nothing else comes again. Of what repeats, the nearest
#: alone is looked at: with more to choose from, xz takes chance for repetition, and is larger by a
#: tenth.
_LZMA2 = {"id": lzma.FILTER_LZMA2, "dict_size": 4096, "nice_len": 273, "depth": 1}
#: By the bytes of a number, what each place in it tells of its byte, and what the byte before does.
#: Of single bytes now the one is smaller and now the other: the second where floats (scales,
#: biases) are a tenth of what there is to say, as in MobileNet, by 3 %; else the first, by 1 %.
_PLACES = {
    1: (
        {"lc": 0, "lp": 0, "pb": 0, "mf": lzma.MF_HC3},
        {"lc": 3, "lp": 0, "pb": 3, "mf": lzma.MF_BT2},
    ),
    2: ({"lc": 0, "lp": 1, "pb": 1, "mf": lzma.MF_HC3},),
    4: ({"lc": 0, "lp": 2, "pb": 2, "mf": lzma.MF_HC3},),
}


@dataclass(frozen=True)
class _Packed:
    encoding: Encoding
    path: Path
    bytes: int


def _xz(places: dict[str, int]) -> lzma.LZMACompressor:
    return lzma.LZMACompressor(filters=[_LZMA2 | places])


def _packed(path: Path, number: int, encoding: Encoding, compressor: _Compressor) -> _Packed:
    target = path.with_name(f"{path.name}{SUFFIXES[encoding]}-{number}")
    with target.open("wb") as file:
        for chunk in _chunks(path):
            file.write(compressor.compress(chunk))
        file.write(compressor.flush())
    return _Packed(encoding, target, target.stat().st_size)


def _smallest(tried: Iterable[_Packed], encoding: Encoding) -> _Packed:
    """Return the smallest file of an encoding, and remove the others."""
    smallest, *others = sorted(
        (packed for packed in tried if packed.encoding == encoding),
        key=lambda packed: packed.bytes,
    )
    for packed in others:
        packed.path.unlink()
    return smallest


def _kept(several: Iterable[_Packed], path: Path, size: int) -> Iterator[Compressed]:
    """Yield what is smaller than the file, by then under its name, and remove the rest."""
    for packed in several:
        if packed.bytes > size * (1 - _LEAST_GAIN):
            packed.path.unlink()
            continue
        target = packed.path.rename(path.with_name(path.name + SUFFIXES[packed.encoding]))
        yield Compressed(encoding=packed.encoding, bytes=packed.bytes, sha256=_sha256(target))


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
