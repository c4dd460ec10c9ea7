"""What is in a file of records: TensorFlow's TFRecord, each record a ``tf.train.Example``.

An example says itself what it holds, so its features are found here without being told; what they
mean is said by the job. Source: ``tensorflow/core/lib/io/record_writer.h`` and
``tensorflow/core/example/feature.proto``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.jobs.errors import RefusedFileError
from app.jobs.intake.folders import one_or_none, require_moderate
from app.jobs.intake.image_size import image_size
from app.jobs.uploads import ColumnSummary, DatasetSummary

_LENGTH_BYTES, _CHECKSUM_BYTES = 8, 4
_HEADER_BYTES = _LENGTH_BYTES + _CHECKSUM_BYTES
_MAX_RECORD_BYTES = 2**26
_MAX_FEATURES = 1000
_MAX_NAME = 200

_Kind: TypeAlias = Literal["integer", "float", "bytes"]
#: Fields of ``Feature``.
_KINDS: dict[int, _Kind] = {1: "bytes", 2: "float", 3: "integer"}
_VARINT, _FIXED_64, _DELIMITED, _FIXED_32 = 0, 1, 2, 5
_VARINT_BYTES = 10

_HINT = (
    "Write it with tf.io.TFRecordWriter, without compression, each record the "
    "SerializeToString() of a tf.train.Example."
)


class _BrokenError(Exception):
    """A record contradicts its own format."""


@dataclass(frozen=True)
class _Feature:
    """The values of one feature in one record."""

    kind: _Kind
    numbers: NDArray[np.float64]  #: Empty for bytes.
    values: tuple[bytes, ...]  #: Empty for numbers.

    @property
    def width(self) -> int:
        return len(self.values) if self.kind == "bytes" else len(self.numbers)


def begins_records(head: bytes) -> bool:
    """Whether these first bytes of a file are those of a record: its length, and its checksum.

    >>> begins_records(struct.pack("<Q", 3) + bytes(4))
    False
    """
    return len(head) >= _HEADER_BYTES and _length_of(head[:_HEADER_BYTES]) is not None


def summarise_records(path: Path) -> DatasetSummary:
    """Check a file of records and say which features they have.

    Raises:
        RefusedFileError: it cannot be taken.
    """
    columns: dict[str, _Column] = {}
    count = 0
    with path.open("rb") as file:
        for record in _records(file):
            count += 1
            try:
                features = _features(record)
            except (_BrokenError, struct.error, UnicodeDecodeError) as error:
                raise _bad_record(count, "is no tf.train.Example") from error
            _take_in(columns, features, count)
    return DatasetSummary(
        kind="tfrecord",
        arrays=(),
        columns=tuple(column.summary(name, count) for name, column in columns.items()),
        ignored=(),
        train_samples=count,
        validation_samples=0,
        test_samples=0,
        integer_labels=False,
        lowest_label=None,
        highest_label=None,
    )


class _Column:
    """What has been seen of one feature."""

    def __init__(self, kind: _Kind) -> None:
        self.kind: _Kind = kind
        self._records = 0
        self._widths: set[int] = set()
        self._lowest = math.inf
        self._highest = -math.inf
        self._are_images = kind == "bytes"
        self._heights: set[int] = set()
        self._image_widths: set[int] = set()

    def take_in(self, name: str, feature: _Feature, number: int) -> None:
        self._records += 1
        if len(self._widths) <= 1:
            self._widths.add(feature.width)
        if feature.kind == "bytes":
            self._look_at(name, feature.values, number)
        elif feature.width:
            low, high = float(feature.numbers.min()), float(feature.numbers.max())
            if not (math.isfinite(low) and math.isfinite(high)):
                raise RefusedFileError(
                    "not_finite",
                    f"Record {number} holds NaN or an infinite value in feature {name!r}.",
                    hint="Leave out or replace those records and upload the file again.",
                )
            self._lowest, self._highest = min(self._lowest, low), max(self._highest, high)

    def summary(self, name: str, records: int) -> ColumnSummary:
        is_in_all = self._records == records
        has_numbers = math.isfinite(self._lowest)
        return ColumnSummary(
            name=name,
            kind=self.kind,
            width=one_or_none(self._widths) if is_in_all else None,
            lowest=self._lowest if has_numbers else None,
            highest=self._highest if has_numbers else None,
            image=(one_or_none(self._heights), one_or_none(self._image_widths))
            if self._are_images and self._heights
            else None,
        )

    def _look_at(self, name: str, values: tuple[bytes, ...], number: int) -> None:
        for value in values:
            size = image_size(value)
            if size is None:
                self._are_images = False
                continue
            require_moderate(f"{name} of record {number}", size)
            if len(self._heights) <= 1:
                self._heights.add(size[0])
            if len(self._image_widths) <= 1:
                self._image_widths.add(size[1])


def _take_in(columns: dict[str, _Column], features: dict[str, _Feature], number: int) -> None:
    for name, feature in features.items():
        if not (0 < len(name) <= _MAX_NAME and name.isprintable()):
            raise _bad_record(number, "has a feature without a plain name")
        column = columns.setdefault(name, _Column(feature.kind))
        if column.kind != feature.kind:
            raise _bad_record(
                number, f"has {feature.kind} values in {name!r}, the records before {column.kind}"
            )
        column.take_in(name, feature, number)
    if len(columns) > _MAX_FEATURES:
        raise _bad_record(number, f"is one of those that have more than {_MAX_FEATURES} features")


def _records(file: BinaryIO) -> Iterator[bytes]:
    number = 0
    while header := file.read(_HEADER_BYTES):
        number += 1
        length = _length_of(header) if len(header) == _HEADER_BYTES else None
        if length is None:
            raise _bad_record(number, "does not begin as a record does")
        if length > _MAX_RECORD_BYTES:
            raise RefusedFileError(
                "too_large",
                f"A record must have at most {_MAX_RECORD_BYTES} bytes. Received: {length}.",
                hint=_HINT,
            )
        record = file.read(length)
        # What the checksum says of the content, who decodes it finds out.
        if len(record) < length or len(file.read(_CHECKSUM_BYTES)) < _CHECKSUM_BYTES:
            raise RefusedFileError(
                "truncated",
                f"The file ends in the middle of record {number}.",
                hint="The upload or the file was cut short: upload it again.",
            )
        yield record


def _length_of(header: bytes) -> int | None:
    length, checksum = struct.unpack("<QI", header)
    return length if checksum == _masked_checksum(header[:_LENGTH_BYTES]) else None


def _masked_checksum(content: bytes) -> int:
    """CRC-32C of a few bytes, turned as TensorFlow turns it."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _CRC_32C[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _crc_table() -> tuple[int, ...]:
    table: list[int] = []
    for start in range(256):
        crc = start
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_CRC_32C = _crc_table()


def _features(record: bytes) -> dict[str, _Feature]:
    """Return the features of an example: ``Example.features`` is field 1, a map in field 1."""
    found: dict[str, _Feature] = {}
    for features in _delimited(record, field=1):
        for entry in _delimited(features, field=1):
            [name] = list(_delimited(entry, field=1)) or [b""]
            content = list(_delimited(entry, field=2))
            found[name.decode("utf-8")] = _feature(content[-1] if content else b"")
    return found


def _feature(content: bytes) -> _Feature:
    for field, kind in _KINDS.items():
        for values in _delimited(content, field=field):
            if kind == "bytes":
                return _Feature(kind, np.empty(0), tuple(_delimited(values, field=1)))
            numbers = _floats(values) if kind == "float" else _integers(values)
            return _Feature(kind, numbers, ())
    return _Feature("bytes", np.empty(0), ())


def _floats(content: bytes) -> NDArray[np.float64]:
    parts: list[bytes] = []
    for wire, value in _fields(content, field=1):
        if wire not in {_FIXED_32, _DELIMITED} or len(value) % 4:
            raise _BrokenError
        parts.append(value)
    return np.frombuffer(b"".join(parts), "<f4").astype(np.float64)


def _integers(content: bytes) -> NDArray[np.float64]:
    parts: list[bytes] = []
    for wire, value in _fields(content, field=1):
        if wire not in {_VARINT, _DELIMITED}:
            raise _BrokenError
        parts.append(value)
    return _varints(b"".join(parts)).astype(np.float64)


def _varints(packed: bytes) -> NDArray[np.int64]:
    r"""Return the whole numbers that were written one after the other, seven bits a byte.

    >>> _varints(bytes([1, 0xAC, 0x02]) + b"\xff" * 9 + b"\x01").tolist()
    [1, 300, -1]
    """
    if not packed:
        return np.empty(0, np.int64)
    content = np.frombuffer(packed, np.uint8)
    ends = np.flatnonzero(content < 0x80)  # noqa: PLR2004
    starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends
    if len(ends) == 0 or ends[-1] != len(content) - 1 or (ends - starts).max() >= _VARINT_BYTES:
        raise _BrokenError
    places = np.arange(len(content)) - np.repeat(starts, ends - starts + 1)
    bits = (content & 0x7F).astype(np.uint64) << (7 * places).astype(np.uint64)
    return np.bitwise_or.reduceat(bits, starts).view(np.int64)


def _delimited(content: bytes, *, field: int) -> Iterator[bytes]:
    for wire, value in _fields(content, field=field):
        if wire != _DELIMITED:
            raise _BrokenError
        yield value


def _fields(content: bytes, *, field: int) -> Iterator[tuple[int, bytes]]:
    """Yield wire type and content of each entry of one field of a message."""
    place = 0
    while place < len(content):
        key, place = _varint(content, place)
        wire = key & 7
        start = place
        if wire == _DELIMITED:
            size, start = _varint(content, place)
            place = start + size
        elif wire == _VARINT:
            _, place = _varint(content, place)
        elif wire in {_FIXED_32, _FIXED_64}:
            place += 4 if wire == _FIXED_32 else 8
        else:
            raise _BrokenError
        if place > len(content):
            raise _BrokenError
        if key >> 3 == field:
            yield wire, content[start:place]


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """Return the number that begins at ``place``, and where it ends."""
    number = 0
    for index in range(_VARINT_BYTES):
        if place + index >= len(content):
            break
        byte = content[place + index]
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:  # noqa: PLR2004
            return number, place + index + 1
    raise _BrokenError


def _bad_record(number: int, fault: str) -> RefusedFileError:
    return RefusedFileError("bad_record", f"Record {number} {fault}.", hint=_HINT)
