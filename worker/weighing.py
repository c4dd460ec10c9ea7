"""What a file weighs: its bytes, its hash, and how it is sent to who takes it compressed."""

from __future__ import annotations

import hashlib
import lzma
import zlib
from collections.abc import Iterator, Mapping
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
    gzip = _compress(path, "gzip", zlib.compressobj(9, wbits=_GZIP))
    zstd = _compress(path, "zstd", zstandard.ZstdCompressor(_ZSTD_LEVEL).compressobj(size))
    xz = _compress(path, "xz", _xz(path, number_bytes))
    return Weight(
        bytes=size,
        gzip_bytes=gzip.bytes,
        sha256=_sha256(_chunks(path)),
        compressed=tuple(each for each in (xz, zstd, gzip) if _is_kept(each, path, size)),
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


def _xz(path: Path, number_bytes: int) -> lzma.LZMACompressor:
    """Return what packs the file best."""
    fitting = [_LZMA2 | places for places in _PLACES[number_bytes]]
    if len(fitting) > 1:
        fitting.sort(key=lambda settings: _packed_bytes(path, settings))
    return lzma.LZMACompressor(filters=fitting[:1])


def _packed_bytes(path: Path, settings: Mapping[str, int]) -> int:
    compressor = lzma.LZMACompressor(filters=[settings])
    return sum(len(compressor.compress(chunk)) for chunk in _chunks(path)) + len(compressor.flush())


def _compress(path: Path, encoding: Encoding, compressor: _Compressor) -> Compressed:
    target = _beside(path, encoding)
    with target.open("wb") as file:
        for chunk in _chunks(path):
            file.write(compressor.compress(chunk))
        file.write(compressor.flush())
    return Compressed(
        encoding=encoding, bytes=target.stat().st_size, sha256=_sha256(_chunks(target))
    )


def _is_kept(compressed: Compressed, path: Path, size: int) -> bool:
    if compressed.bytes <= size * (1 - _LEAST_GAIN):
        return True
    _beside(path, compressed.encoding).unlink()
    return False


def _beside(path: Path, encoding: Encoding) -> Path:
    return path.with_name(path.name + SUFFIXES[encoding])


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _sha256(chunks: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
