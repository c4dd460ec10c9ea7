"""What supervisor and runner say to each other: one order down, reports up, JSON lines.

The runner is the side that handles what a stranger uploaded, so the supervisor takes nothing from
it but these shapes, and no line longer than ``MAX_LINE_BYTES``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from app.jobs.history import HistoryChunk
from app.jobs.job import Failure, Notice, Progress, Stage
from app.jobs.result import (
    ArtifactResult,
    EvaluatedOn,
    LayerSparsity,
    Metrics,
    ParameterCounts,
)
from app.jobs.spec import JobSpec
from pruning_core.catalogue import Layout
from pruning_core.config import Granularity

MAX_LINE_BYTES = 64 * 2**20


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PruneOrder(_Message):
    """Fine-tune and prune the model, and export it."""

    kind: Literal["prune"] = "prune"
    folder: Path  #: The attempt's own: all other paths lie below it.
    model: Path  #: The uploaded file, its suffix saying which kind it is.
    dataset: Path | None
    artifact: Path  #: Where the exported file goes.
    reference: Path  #: Where the pruned model's answers go, for the order ``verify``.
    spec: JobSpec
    total_steps: int  #: As planned; 0 without a dataset.


class PlannedUnits(_Message):
    """What the spec asks of one tensor."""

    granularity: Annotated[Granularity, Field(discriminator="kind")]
    layout: Layout
    pruned: int | None  #: Units that go; ``None`` where only the weights decide.


class PrunedTensor(_Message):
    """One weight tensor of the pruned model, in the order of ``model.weights``."""

    layer: str  #: Path of the layer, for example ``encoder/dense``.
    weight: str  #: Name of the weight in its layer, for example ``kernel``.
    shape: tuple[int, ...]
    zeros: int  #: Counted in the model in memory.
    planned: PlannedUnits | None  #: ``None`` for a tensor that stays dense.
    reason: str | None  #: Why it stays dense; ``None`` when it was pruned.


class Objective(_Message):
    """What a model is measured by, as Keras serialises it."""

    loss: JsonValue
    metrics: tuple[JsonValue, ...]


class Pruned(_Message):
    """The order ``prune`` is carried out; this is what the files have to be held against."""

    kind: Literal["pruned"] = "pruned"
    tensors: tuple[PrunedTensor, ...]
    least_zeros: int  #: That the pruned tensors have in all, by their shapes alone.
    objective: Objective | None  #: ``None`` when the job has no held-out data.
    baseline: Metrics | None
    evaluated_on: EvaluatedOn | None


class VerifyOrder(_Message):
    """Open the file that will be downloaded, hold it against the pruned model, and measure it."""

    kind: Literal["verify"] = "verify"
    folder: Path  #: As in ``PruneOrder``, like the paths that follow.
    dataset: Path | None
    artifact: Path
    reference: Path
    spec: JobSpec
    pruned: Pruned


class Verified(_Message):
    """The order ``verify`` is carried out: the figures of the result, measured on the file."""

    kind: Literal["verified"] = "verified"
    sparsity: float
    parameters: ParameterCounts
    layers: tuple[LayerSparsity, ...]
    artifact: ArtifactResult


class Ready(_Message):
    """Keras is imported; the runner waits for its order."""

    kind: Literal["ready"] = "ready"


class StageBegun(_Message):
    """The job is in another stage now."""

    kind: Literal["stage"] = "stage"
    stage: Stage


class Advanced(_Message):
    """The training got further; the rows of the history since the last such message."""

    kind: Literal["progress"] = "progress"
    progress: Progress
    history: tuple[HistoryChunk, ...]


class Noticed(_Message):
    """The caller should know this, though the job goes on."""

    kind: Literal["notice"] = "notice"
    notice: Notice


class Refused(_Message):
    """The job cannot be carried out."""

    kind: Literal["refused"] = "refused"
    failure: Failure


Order: TypeAlias = Annotated[PruneOrder | VerifyOrder, Field(discriminator="kind")]
Outcome: TypeAlias = Pruned | Verified
Update: TypeAlias = StageBegun | Advanced | Noticed
Report: TypeAlias = Annotated[
    Ready | StageBegun | Advanced | Noticed | Refused | Pruned | Verified,
    Field(discriminator="kind"),
]

_orders: TypeAdapter[Order] = TypeAdapter(Order)
_reports: TypeAdapter[Report] = TypeAdapter(Report)


def line_of(message: Order | Report) -> bytes:
    """Return the message as one line of JSON."""
    return message.model_dump_json().encode() + b"\n"


def order_of(line: bytes) -> Order:
    """Return the order on a line.

    Raises:
        pydantic.ValidationError: it is none.
    """
    return _orders.validate_json(line)


def report_of(line: bytes) -> Report:
    """Return the report on a line.

    Raises:
        pydantic.ValidationError: it is none.
    """
    return _reports.validate_json(line)
