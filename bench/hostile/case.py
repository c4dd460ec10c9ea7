"""One thing that a stranger sends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

#: Short, and yet everything is trained, pruned, exported and verified.
SPEC = (
    '{"schedule": {"kind": "constant", "target_sparsity": 0.5}, '
    '"training": {"epochs": 1, "batch_size": 32}}'
)


class Expected(Enum):
    """What has to become of it."""

    REFUSAL = auto()  #: At the door or by a job that fails, with a stable code.
    SUCCESS = auto()
    JUDGEMENT = auto()  #: A refusal, unless ``judge`` has nothing against it.


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model, data and a spec, of which what is left out is valid."""

    name: str
    expected: Expected = Expected.REFUSAL
    model: bytes | None = None
    data: bytes | None = None
    spec: str = SPEC
