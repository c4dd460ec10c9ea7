"""TensorBoard's event file of a training, made from its history.

The file is a row of TFRecords, each a serialised ``tensorflow.Event``. The few fields that curves
need are written here byte by byte: this runs where TensorFlow must not be imported, and the
package ``tensorboard`` would bring a web server along.

Sources: tensorflow/core/lib/io/record_writer.h, tensorflow/core/util/event.proto,
tensorflow/core/framework/summary.proto, and RFC 3720, appendix B.4, for CRC-32C.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from app.jobs.history import Columns, History

#: What TensorBoard looks for in the name of a file.
_MARK = "tfevents"
_VERSION = b"brain.Event:2"
_HELD_OUT = "val_"

#: Numbers of fields, with the way each is written: 8 bytes, varint, length and bytes, 4 bytes.
_WALL_TIME, _STEP, _FILE_VERSION, _SUMMARY = 1 << 3 | 1, 2 << 3, 3 << 3 | 2, 5 << 3 | 2
_VALUE = 1 << 3 | 2
_TAG, _SIMPLE_VALUE = 1 << 3 | 2, 2 << 3 | 5

_LARGEST = 3.4028234e38  #: That the 4 bytes of a value hold.
_CASTAGNOLI = 0x82F63B78  #: The polynomial, its bits reversed.
_CRC_MASK = 0xA282EAD8

Scalars: TypeAlias = Mapping[str, float]


def event_file_name(job_id: str) -> str:
    """Return a name by which TensorBoard knows the file for what it is."""
    return f"events.out.{_MARK}.{job_id}"


def write_event_file(path: Path, history: History, *, steps_per_epoch: int, at: datetime) -> None:
    """Write the curves of a training.

    Each column of the steps is a curve of its own name. What an epoch measured on held-out samples
    (``val_loss``) stands at the last step of the epoch. A figure that was not finite, or is none
    in single precision, is left out.

    Args:
        path: Where to.
        history: Of the training.
        steps_per_epoch: Its epochs are equally long.
        at: When it began: the time of every point, as none was kept by itself.
    """
    clock = at.timestamp()
    with path.open("wb") as file:
        file.write(_record(_event(clock, 0, _field(_FILE_VERSION, _VERSION))))
        for step, scalars in _points(history, steps_per_epoch):
            file.write(_record(_event(clock, step, _summary(scalars))))


def _points(history: History, steps_per_epoch: int) -> Iterator[tuple[int, Scalars]]:
    for step, scalars in _rows("step", history.steps):
        yield step, scalars
    for epoch, scalars in _rows("epoch", history.epochs):
        held_out = {name: value for name, value in scalars.items() if name.startswith(_HELD_OUT)}
        if held_out:
            yield epoch * steps_per_epoch, held_out


def _rows(counter: str, columns: Columns) -> Iterator[tuple[int, Scalars]]:
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(columns, values, strict=True))
        place = row.pop(counter)
        assert place is not None, "steps and epochs are counted"
        yield (
            int(place),
            {
                name: value
                for name, value in row.items()
                if value is not None and abs(value) <= _LARGEST
            },
        )


def _event(clock: float, step: int, content: bytes) -> bytes:
    return _number(_WALL_TIME) + struct.pack("<d", clock) + _number(_STEP) + _number(step) + content


def _summary(scalars: Scalars) -> bytes:
    values = (
        _field(_TAG, name.encode()) + _number(_SIMPLE_VALUE) + struct.pack("<f", value)
        for name, value in scalars.items()
    )
    return _field(_SUMMARY, b"".join(_field(_VALUE, value) for value in values))


def _field(key: int, content: bytes) -> bytes:
    return _number(key) + _number(len(content)) + content


def _number(value: int) -> bytes:
    """Return a varint: seven bits a byte, the lowest first, the eighth set on all but the last.

    >>> _number(300).hex()
    'ac02'
    """
    written = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    crc = crc32c(data)
    rotated = crc >> 15 | crc << 17 & 0xFFFFFFFF
    return struct.pack("<I", rotated + _CRC_MASK & 0xFFFFFFFF)


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of ``data``.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[crc & 0xFF ^ byte]
    return crc ^ 0xFFFFFFFF


def _remainder(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_CASTAGNOLI if byte & 1 else 0)
    return byte


_TABLE = tuple(map(_remainder, range(256)))
