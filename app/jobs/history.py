"""The figures of a training as columns: what a chart draws."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from app.jobs.figures import Figure

#: Column name to values, one a row; all columns have equally many. Steps and epochs stay whole.
Columns = Mapping[str, tuple[int | Figure, ...]]


class Scope(StrEnum):
    """What one row of a history stands for."""

    STEP = "step"
    EPOCH = "epoch"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HistoryChunk(_Record):
    """Some rows, as a worker reports them."""

    scope: Scope
    columns: Columns

    @model_validator(mode="after")
    def _refuse_ragged_columns(self) -> Self:
        if len({len(values) for values in self.columns.values()}) > 1:
            lengths = {name: len(values) for name, values in self.columns.items()}
            message = f"columns must have equally many rows. Received: {lengths}"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _refuse_uncounted_rows(self) -> Self:
        numbers = self.columns.get(self.scope.value, (None,))
        if not all(isinstance(number, int) and number > 0 for number in numbers):
            message = f"{self.scope.value} must number each row from 1. Received: {numbers!r:.80}"
            raise ValueError(message)
        return self

    def rows(self) -> Iterator[dict[str, float | None]]:
        """Yield the rows one by one.

        >>> chunk = HistoryChunk(scope="epoch", columns={"epoch": (1, 2), "loss": (0.5, 0.25)})
        >>> [row["loss"] for row in chunk.rows()]
        [0.5, 0.25]
        """
        for values in zip(*self.columns.values(), strict=True):
            yield dict(zip(self.columns, values, strict=True))


class History(_Record):
    """All rows of the attempt that holds the job, or held it last."""

    steps: Columns
    epochs: Columns


def joined(chunks: Iterable[Columns]) -> Columns:
    """Return the chunks one below the other; where one lacks a column, its rows are ``None``.

    >>> joined([{"step": (1, 2)}, {"step": (3,), "loss": (0.5,)}])
    {'step': (1, 2, 3), 'loss': (None, None, 0.5)}
    """
    columns: dict[str, list[float | None]] = {}
    rows = 0
    for chunk in chunks:
        for name, values in chunk.items():
            columns.setdefault(name, [None] * rows).extend(values)
        rows += max((len(values) for values in chunk.values()), default=0)
        for values in columns.values():
            values.extend([None] * (rows - len(values)))
    return {name: tuple(values) for name, values in columns.items()}
