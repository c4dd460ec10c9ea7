"""Which bytes of a file a request asks for (RFC 9110, section 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.api.errors import RangeNotSatisfiableError

_SINGLE_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", re.IGNORECASE)


@dataclass(frozen=True)
class ByteRange:
    """The bytes from ``start`` up to, not including, ``end``."""

    start: int
    end: int


def requested_range(header: str, *, size: int) -> ByteRange | None:
    """Return the range that a ``Range`` header asks for; ``None`` for the whole file.

    A header that is malformed, in another unit, or names several ranges asks for the whole
    file, as the standard allows.

    Args:
        header: Value of the ``Range`` header; empty for none.
        size: Bytes of the file.

    Raises:
        RangeNotSatisfiableError: the range begins behind the end of the file.

    >>> requested_range("bytes=2-5", size=10), requested_range("bytes=-3", size=10)
    (ByteRange(start=2, end=6), ByteRange(start=7, end=10))
    """
    single = _SINGLE_RANGE.fullmatch(header)
    if single is None:
        return None
    first, last = single.groups()
    if not first:
        return _suffix(last, size)
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise RangeNotSatisfiableError(size=size)
    return ByteRange(start, min(int(last) + 1, size) if last else size)


def _suffix(length: str, size: int) -> ByteRange | None:
    if not length:
        return None
    if int(length) == 0 or size == 0:
        raise RangeNotSatisfiableError(size=size)
    return ByteRange(max(size - int(length), 0), size)
