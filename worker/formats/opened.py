"""A file that its own runtime has opened, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from worker.data import Array

#: The name under which every exported graph can be called.
SIGNATURE = "serve"


@dataclass(frozen=True)
class Port:
    """One input or output."""

    name: str
    shape: tuple[int | None, ...]  #: With the batch in front; ``None`` where the size is free.
    dtype: str


@dataclass(frozen=True)
class WeightCount:
    """How many weights a file holds; counts of whole numbers, shapes for one, are no weights."""

    total: int
    nonzero: int

    def __add__(self, other: WeightCount) -> WeightCount:
        return WeightCount(self.total + other.total, self.nonzero + other.nonzero)


class Opened(Protocol):
    """A file that its runtime has opened."""

    @property
    def inputs(self) -> tuple[Port, ...]:
        """What it takes, in any order."""
        ...

    @property
    def outputs(self) -> tuple[Port, ...]:
        """What it gives, in any order."""
        ...

    def answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs by name; both with the batch in front."""
        ...

    def weights(self) -> WeightCount:
        """Return what the file itself says of its weights."""
        ...
