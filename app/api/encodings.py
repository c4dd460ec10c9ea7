"""Which compressed form of a file a caller takes (RFC 9110, section 12.5.3)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from app.jobs.result import Compressed

_ENTRY = re.compile(r"\s*([\w*-]+)\s*(?:;\s*q=([01](?:\.\d{0,3})?)\s*)?", re.ASCII | re.IGNORECASE)


#: Too rare to be meant by ``*``.
_ONLY_BY_NAME = frozenset({"xz"})


def preferred(header: str, offered: Sequence[Compressed]) -> Compressed | None:
    """Return the smallest form that an ``Accept-Encoding`` header takes; ``None`` for the file.

    How much a caller would rather have one than another is not looked at: what matters for a file
    that is downloaded is its size. What cannot be read takes nothing.

    >>> zstd = Compressed(encoding="zstd", bytes=80, sha256="")
    >>> gzip = Compressed(encoding="gzip", bytes=90, sha256="")
    >>> [each and each.encoding for each in (
    ...     preferred("gzip, deflate", [zstd, gzip]),
    ...     preferred("gzip, zstd", [zstd, gzip]),
    ...     preferred("*, zstd;q=0", [zstd, gzip]),
    ...     preferred("identity", [zstd, gzip]),
    ... )]
    ['gzip', 'zstd', 'gzip', None]
    """
    taken = _taken(header)
    others = taken.get("*", False)
    fitting = [
        each
        for each in offered
        if taken.get(each.encoding, others and each.encoding not in _ONLY_BY_NAME)
    ]
    return min(fitting, key=lambda each: each.bytes, default=None)


def _taken(header: str) -> dict[str, bool]:
    """Return for each name in the header whether it is taken."""
    entries = (_ENTRY.fullmatch(entry) for entry in header.split(","))
    return {entry[1].lower(): float(entry[2] or 1) > 0 for entry in entries if entry is not None}
