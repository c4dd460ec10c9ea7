"""How large an encoded image is, from its first bytes; nothing is decoded."""

from __future__ import annotations

import struct

#: Of a JPEG, metadata and colour profiles may stand before the size.
HEAD_BYTES = 2**20

_PNG, _BMP, _JPEG = b"\x89PNG\r\n\x1a\n", b"BM", b"\xff\xd8"
#: Frame headers of JPEG: all of SOF0 to SOF15 but the tables among them.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


def image_size(head: bytes) -> tuple[int, int] | None:
    """Return height and width; ``None`` where these bytes do not begin a PNG, JPEG or BMP.

    Args:
        head: The first ``HEAD_BYTES`` of a file, or all of a smaller one.

    >>> image_size(b"BM" + bytes(12) + struct.pack("<Iii", 40, 5, -3))
    (3, 5)
    """
    try:
        if head.startswith(_PNG) and head[12:16] == b"IHDR":
            width, height = struct.unpack_from(">II", head, 16)
        elif head.startswith(_JPEG):
            height, width = _size_of_jpeg(head)
        elif head.startswith(_BMP):
            width, height = struct.unpack_from("<ii", head, 18)
        else:
            return None
    except struct.error:
        return None
    return abs(height), abs(width)


def _size_of_jpeg(head: bytes) -> tuple[int, int]:
    place = len(_JPEG)
    while True:
        mark, marker = struct.unpack_from(">BB", head, place)
        if mark != 0xFF:  # noqa: PLR2004
            raise struct.error
        if marker == 0xFF or marker in _WITHOUT_LENGTH:  # noqa: PLR2004
            place += 1 if marker == 0xFF else 2  # noqa: PLR2004
            continue
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", head, place + 5)
            return height, width
        (length,) = struct.unpack_from(">H", head, place + 2)
        place += 2 + max(2, length)
