"""What is in a table: a CSV file whose first row names the columns.

Read in blocks by NumPy's own parser, so that memory does not grow with the file.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from app.jobs.errors import RefusedFileError
from app.jobs.uploads import ColumnSummary, DatasetSummary

_MAX_COLUMNS = 16_384
_MAX_NAME = 200
_MAX_ROW = 2**20
_BLOCK_CHARACTERS = 2**22
_MAX_CLASSES = 1000
_MAX_CLASS_NAME = 200
_HINT = (
    "Write it with pandas' to_csv(path, index=False): commas between the values, UTF-8, a first "
    "row of names, and no empty fields."
)


@dataclass(frozen=True)
class Block:
    """Some rows of a table, one after the other."""

    numbers: NDArray[np.float64]  #: ``(rows, columns)``; 0 in columns of text.
    texts: Mapping[str, Sequence[str]]  #: Of the columns of text, by their names.


class Table:
    """An open table; its rows can be gone through once."""

    def __init__(self, file: TextIO) -> None:
        """Read the row of names and look at the first row of values; ``open_table`` opens one."""
        self._lines = _lines(file)
        self.names = _names(next(self._lines, (0, ""))[1])
        self._first = next(self._lines, None)
        fields = [] if self._first is None else _fields(self._first[1])
        self.texts = tuple(
            name for name, value in zip(self.names, fields, strict=False) if not _is_number(value)
        )

    def blocks(self) -> Iterator[Block]:
        """Yield all rows, in order.

        Raises:
            RefusedFileError: ``bad_row``, ``not_finite`` or ``too_large``.
        """
        if self._first is None:
            return
        rows = [self._first]
        size = len(self._first[1])
        for row in self._lines:
            rows.append(row)
            size += len(row[1])
            if size >= _BLOCK_CHARACTERS:
                yield self._parsed(rows)
                rows, size = [], 0
        if rows:
            yield self._parsed(rows)

    def _parsed(self, rows: list[tuple[int, str]]) -> Block:
        for number, line in rows:
            count = len(_fields(line)) if '"' in line else line.count(",") + 1
            if count != len(self.names):
                rule = f"have {len(self.names)} fields, as the first row has"
                raise _bad_row(number, rule, f"{count}")
        numbers = np.zeros((len(rows), len(self.names)))
        places = [place for place, name in enumerate(self.names) if name not in self.texts]
        if places:
            numbers[:, places] = self._numbers(rows, places)
        return Block(numbers, self._texts(rows))

    def _numbers(self, rows: list[tuple[int, str]], places: list[int]) -> NDArray[np.float64]:
        try:
            found = np.loadtxt(
                [line for _, line in rows],
                delimiter=",",
                quotechar='"',
                comments=None,
                usecols=places,
                ndmin=2,
            )
        except ValueError as error:
            raise self._fault(rows, places) from error
        if not np.isfinite(found).all():
            row, place = np.argwhere(~np.isfinite(found))[0]
            raise RefusedFileError(
                "not_finite",
                f"Row {rows[row][0]} holds NaN or an infinite value in column "
                f"{self.names[places[place]]!r}.",
                hint="Remove or replace those rows and upload the file again.",
            )
        return found

    def _fault(self, rows: list[tuple[int, str]], places: list[int]) -> RefusedFileError:
        for number, line in rows:
            fields = _fields(line)
            for place in places:
                if not _is_number(fields[place]):
                    rule = f"have a number in column {self.names[place]!r}, as the rows before have"
                    return _bad_row(number, rule, repr(fields[place][:80]))
        return _bad_row(rows[0][0], "be rows of plain numbers", "something else")

    def _texts(self, rows: list[tuple[int, str]]) -> dict[str, list[str]]:
        if not self.texts:
            return {}
        columns = list(zip(*(_fields(line) for _, line in rows), strict=True))
        return {name: list(columns[self.names.index(name)]) for name in self.texts}


@contextmanager
def open_table(path: Path) -> Generator[Table]:
    """Open the table at ``path``.

    Raises:
        RefusedFileError: ``not_a_dataset``, ``bad_row`` or ``too_large``.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            yield Table(file)
        except UnicodeDecodeError as error:
            raise RefusedFileError(
                "not_a_dataset",
                "The file is no dataset of a kind that is known, and no text in UTF-8 either.",
                hint="Give an .npz, a .csv, a .zip with a folder for each class, or a .tfrecord.",
            ) from error


@dataclass
class _Column:
    """What has been seen of one column."""

    is_text: bool
    lowest: float = math.inf
    highest: float = -math.inf
    is_whole: bool = True
    classes: set[str] = field(default_factory=set[str])


def summarise_table(path: Path) -> DatasetSummary:
    """Check a CSV file and say what is in it.

    Raises:
        RefusedFileError: it cannot be taken.
    """
    rows = 0
    with open_table(path) as table:
        columns = {name: _Column(is_text=name in table.texts) for name in table.names}
        for block in table.blocks():
            rows += len(block.numbers)
            _take_in(columns, block)
    if rows == 0:
        raise RefusedFileError("no_samples", "The table has no rows.", hint=_HINT)
    return DatasetSummary(
        kind="csv",
        arrays=(),
        columns=tuple(_summary(name, column) for name, column in columns.items()),
        ignored=(),
        train_samples=rows,
        validation_samples=0,
        test_samples=0,
        integer_labels=False,
        lowest_label=None,
        highest_label=None,
    )


def _take_in(columns: dict[str, _Column], block: Block) -> None:
    lowest, highest = block.numbers.min(axis=0), block.numbers.max(axis=0)
    whole = (block.numbers == np.floor(block.numbers)).all(axis=0)
    for place, (name, column) in enumerate(columns.items()):
        column.lowest = min(column.lowest, float(lowest[place]))
        column.highest = max(column.highest, float(highest[place]))
        column.is_whole = column.is_whole and bool(whole[place])
        if column.is_text and len(column.classes) <= _MAX_CLASSES:
            column.classes.update(block.texts[name])


def _summary(name: str, column: _Column) -> ColumnSummary:
    if column.is_text:
        few = len(column.classes) <= _MAX_CLASSES
        short = all(len(one) <= _MAX_CLASS_NAME for one in column.classes)
        classes = tuple(sorted(column.classes)) if few and short else ()
        return ColumnSummary(name=name, kind="text", classes=classes)
    return ColumnSummary(
        name=name,
        kind="integer" if column.is_whole else "float",
        lowest=column.lowest,
        highest=column.highest,
    )


def _lines(file: TextIO) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not empty, each with its number, counted from 1."""
    read: Callable[[], str] = lambda: file.readline(_MAX_ROW + 1)  # noqa: E731
    for number, line in enumerate(iter(read, ""), start=1):
        if len(line) > _MAX_ROW:
            raise RefusedFileError(
                "too_large",
                f"A row must have at most {_MAX_ROW} characters. Received: more, in row {number}.",
                hint=_HINT,
            )
        if "\0" in line:
            raise _bad_row(number, "be text", "a zero byte")
        if line.strip():
            yield number, line.rstrip("\r\n")


def _names(line: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in _fields(line)) if line else ()
    if len(names) > _MAX_COLUMNS:
        raise RefusedFileError(
            "too_large",
            f"A table must have at most {_MAX_COLUMNS} columns. Received: {len(names)}.",
            hint=_HINT,
        )
    are_places = names == tuple(str(place) for place in range(len(names)))
    if not names or (not are_places and all(_is_number(name) for name in names)):
        raise _bad_row(1, "name the columns", "numbers" if names else "nothing")
    if len(set(names)) < len(names) or not all(_is_name(name) for name in names):
        raise _bad_row(1, "name each column, by a name of its own", repr(line[:80]))
    if len(names) == 1 and any(mark in line for mark in ";\t|"):
        raise _bad_row(1, "have commas between the names", repr(line[:80]))
    return names


def _is_name(name: str) -> bool:
    return 0 < len(name) <= _MAX_NAME and name.isprintable()


def _fields(line: str) -> list[str]:
    try:
        return next(csv.reader([line], strict=True), list[str]())
    except csv.Error as error:
        fault = RefusedFileError("bad_row", f"A row is no CSV: {error}.", hint=_HINT)
        raise fault from error


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return "_" not in value


def _bad_row(number: int, rule: str, evidence: str) -> RefusedFileError:
    return RefusedFileError(
        "bad_row", f"Row {number} must {rule}. Received: {evidence}.", hint=_HINT
    )
