"""What supervisor and runner say to each other: one order down, reports up, JSON lines.

The runner is the side that handles what a stranger uploaded, so the supervisor takes nothing from
it but these shapes, and no line longer than ``MAX_LINE_BYTES``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from app.jobs.formats import FILE_NAMES, WITH_ALL_WEIGHTS, ArtifactFormat
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


class TranslateOrder(_Message):
    """Make the file of Keras 2 one of Keras 3, and see that it is the same model."""

    kind: Literal["translate"] = "translate"
    folder: Path  #: As in ``PruneOrder``, like the paths that follow.
    model: Path  #: An HDF5 file.
    translated: Path  #: Where the other one goes.


class Translated(_Message):
    """The order ``translate`` is carried out; both models answer alike."""

    kind: Literal["translated"] = "translated"


class PruneOrder(_Message):
    """Fine-tune and prune the model, and export it."""

    kind: Literal["prune"] = "prune"
    folder: Path  #: The attempt's own: all other paths lie below it.
    model: Path  #: The uploaded file, its suffix saying which kind it is.
    #: The data as they were uploaded, where they are no arrays: decoded into ``dataset`` first.
    upload: Path | None = None
    dataset: Path | None  #: Arrays, as an ``.npz``.
    artifact: Path  #: Where the exported file goes.
    reference: Path  #: Where the pruned model's answers go, for the order ``verify``.
    spec: JobSpec
    total_steps: int  #: As planned; 0 without a dataset.
    checkpoint: Path | None = None  #: Where the training goes on; ``None`` for from the beginning.
    seconds_between_checkpoints: float = 30.0  #: At least; more where one takes long to write.


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


class ConvertOrder(_Message):
    """Write the exported file in other formats.

    Each under its name in ``FILE_NAMES``, and beside most, see ``dense_name``, the same network in
    the same way with no weight zero, to time it against.
    """

    kind: Literal["convert"] = "convert"
    folder: Path  #: As in ``PruneOrder``, like the paths that follow.
    model: Path
    dataset: Path | None
    spec: JobSpec
    formats: tuple[ArtifactFormat, ...]


class Converted(_Message):
    """The order ``convert`` is carried out; each file was reported when it was written."""

    kind: Literal["converted"] = "converted"


class ConvertedFile(_Message):
    """One file that was written by the order ``convert``."""

    format: ArtifactFormat
    path: Path
    dense: Path | None  #: What it is timed against, see ``dense_name``.
    remarks: tuple[str, ...]


class CheckOrder(_Message):
    """Open converted files by their own runtimes, hold them against the pruned model, measure."""

    kind: Literal["check"] = "check"
    folder: Path  #: As in ``PruneOrder``, like the paths that follow.
    model: Path  #: What they were made from, verified.
    dataset: Path | None
    reference: Path
    spec: JobSpec
    pruned: Pruned
    files: tuple[ConvertedFile, ...]


class Checked(_Message):
    """The order ``check`` is carried out; each file was reported when its figures were known."""

    kind: Literal["checked"] = "checked"


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


class Checkpointed(_Message):
    """The training can be gone on with from here: ``checkpoint_path`` says where that is written.

    Like ``Advanced`` it brings progress and rows.
    """

    kind: Literal["checkpoint"] = "checkpoint"
    progress: Progress
    history: tuple[HistoryChunk, ...]


class Noticed(_Message):
    """The caller should know this, though the job goes on."""

    kind: Literal["notice"] = "notice"
    notice: Notice


class FileWritten(_Message):
    """A file of another format is there."""

    kind: Literal["file_written"] = "file_written"
    format: ArtifactFormat
    remarks: tuple[str, ...]  #: Whole sentences on what is particular about it.


class FileChecked(_Message):
    """A converted file holds; what was measured on it."""

    kind: Literal["file_checked"] = "file_checked"
    artifact: ArtifactResult


class FileFailed(_Message):
    """A file could not be written, or does not hold, and will not be published."""

    kind: Literal["file_failed"] = "file_failed"
    format: ArtifactFormat
    fault: str  #: Continues "model.onnx is not published: ".


class Refused(_Message):
    """The job cannot be carried out."""

    kind: Literal["refused"] = "refused"
    failure: Failure


Order: TypeAlias = Annotated[
    TranslateOrder | PruneOrder | VerifyOrder | ConvertOrder | CheckOrder,
    Field(discriminator="kind"),
]
Outcome: TypeAlias = Translated | Pruned | Verified | Converted | Checked
FileReport: TypeAlias = FileWritten | FileChecked | FileFailed
Update: TypeAlias = StageBegun | Advanced | Checkpointed | Noticed | FileReport
Report: TypeAlias = Annotated[
    Ready
    | StageBegun
    | Advanced
    | Checkpointed
    | Noticed
    | FileWritten
    | FileChecked
    | FileFailed
    | Refused
    | Translated
    | Pruned
    | Verified
    | Converted
    | Checked,
    Field(discriminator="kind"),
]

_orders: TypeAdapter[Order] = TypeAdapter(Order)
_reports: TypeAdapter[Report] = TypeAdapter(Report)


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return where a runner leaves what it wrote down after ``step``, for the supervisor to take.

    Args:
        folder: The order's.
        step: Of the report that says so.
    """
    return folder / f"checkpoint-{step}.weights.h5"


def masks_path(folder: Path) -> Path:
    """Return where who verifies a file leaves its masks.

    Args:
        folder: The order's.
    """
    return folder / "masks.npz"


def dense_name(form: ArtifactFormat) -> str | None:
    """Return what the file is called that a converted file is timed against.

    There is none for a file of weights: those of the ``.keras`` are at hand.
    """
    return None if form in WITH_ALL_WEIGHTS else f"dense.{FILE_NAMES[form]}"


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
