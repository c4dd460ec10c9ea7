"""What the service answers, as its callers see it.

A newer service may say more than these records name: that is kept as it came, and can be read by
its name. ``docs/api.md`` says what each member means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

_FINAL: Final = frozenset({"succeeded", "failed", "cancelled"})

Metrics = Mapping[str, float | None]
#: Column name to values, one a row.
Columns = Mapping[str, tuple[float | None, ...]]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class FileRef(_Record):
    """An uploaded file."""

    id: str
    filename: str
    bytes: int
    sha256: str


class Progress(_Record):
    """How far the fine-tuning is."""

    step: int
    total_steps: int
    epoch: int
    epochs: int
    sparsity: float
    eta_seconds: float | None


class Notice(_Record):
    """Something to know, though the job goes on."""

    code: str
    message: str


class Failure(_Record):
    """Why a job failed, and what to do about it."""

    code: str
    message: str
    hint: str


class EvaluatedOn(_Record):
    """The held-out samples behind the figures."""

    split: str
    samples: int


class Uploaded(_Record):
    """Size of the uploaded file, with and without what only training needs."""

    bytes: int
    bytes_without_optimizer: int


class ParameterCounts(_Record):
    """How many weights there are, how many can be pruned, how many are not zero."""

    total: int
    prunable: int
    nonzero: int


class LayerSparsity(_Record):
    """One weight tensor; ``sparsity`` is open in a plan where only the weights can decide."""

    name: str
    weight: str
    shape: tuple[int, ...]
    sparsity: float | None
    pruned: bool
    reason: str | None


class MeasuredArtifact(_Record):
    """A file that came out, and what was measured on it."""

    name: str
    format: str
    bytes: int
    compressed_bytes: int
    sha256: str
    verified: bool
    max_abs_error: float
    metrics: Metrics
    latency_ms: float


class Result(_Record):
    """The figures of a job that succeeded, measured on the files that can be downloaded."""

    baseline: Metrics | None
    pruned: Metrics | None
    evaluated_on: EvaluatedOn | None
    sparsity: float
    uploaded: Uploaded
    parameters: ParameterCounts
    layers: tuple[LayerSparsity, ...]
    artifacts: tuple[MeasuredArtifact, ...]


class JobState(_Record):
    """A job at one moment."""

    id: str
    status: str
    stage: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: Progress | None
    model: FileRef
    dataset: FileRef | None
    spec: Mapping[str, Any]
    warnings: tuple[Notice, ...]
    failure: Failure | None
    result: Result | None

    @property
    def is_final(self) -> bool:
        """Whether nothing can change it any more."""
        return self.status in _FINAL


@dataclass(frozen=True)
class Moment:
    """A job as it goes on, and what its training has come to."""

    state: JobState
    loss: float | None  #: Of the latest step that is known; ``None`` before there is one.


class JobPage(_Record):
    """Some jobs, the newest first."""

    jobs: tuple[JobState, ...]
    next_cursor: str | None


class Event(_Record):
    """One thing that happened to a job."""

    id: int
    at: datetime
    kind: str
    data: Mapping[str, Any]

    @property
    def is_last(self) -> bool:
        """Whether the job has ended with it."""
        return self.kind == "status" and self.data["status"] in _FINAL


class History(_Record):
    """What was measured in training, by step and by epoch."""

    steps: Columns
    epochs: Columns


class Artifact(_Record):
    """A file that can be downloaded."""

    name: str
    format: str
    bytes: int
    sha256: str


class PredictedArtifact(_Record):
    """A file that the job will make, and about how large it will be."""

    name: str
    format: str
    bytes: int


class Plan(_Record):
    """What a job would do."""

    spec: Mapping[str, Any]
    train_samples: int
    held_out: EvaluatedOn | None
    steps_per_epoch: int
    total_steps: int
    sparsity: float
    is_exact: bool
    parameters: ParameterCounts
    layers: tuple[LayerSparsity, ...]
    artifacts: tuple[PredictedArtifact, ...]
    warnings: tuple[Notice, ...]


class Problem(_Record):
    """Why a request was not carried out (RFC 9457)."""

    status: int
    code: str
    title: str
    detail: str
    hint: str | None = None
