"""What a finished job found out. Every figure is measured on the files that can be downloaded."""

from pydantic import BaseModel, ConfigDict

from app.jobs.figures import Figure
from app.jobs.formats import Encoding

Metrics = dict[str, Figure]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EvaluatedOn(_Record):
    """The held-out samples behind the accuracies."""

    split: str  #: ``test`` or ``validation``.
    samples: int


class Uploaded(_Record):
    """Size of the uploaded file, with and without what only training needs."""

    bytes: int
    bytes_without_optimizer: int


class ParameterCounts(_Record):
    """How many weights there are; ``nonzero`` counts among all of them, in the file."""

    total: int
    prunable: int  #: Weights in tensors that this job pruned.
    nonzero: int


class LayerSparsity(_Record):
    """One weight tensor, as counted in the downloaded file."""

    name: str  #: Path of the layer, for example ``encoder/dense``.
    weight: str  #: Name of the weight in its layer, for example ``kernel``.
    shape: tuple[int, ...]
    sparsity: float  #: Fraction of zeros, in [0, 1].
    pruned: bool
    reason: str | None  #: Why it was not pruned; ``None`` when it was.


class Timing(_Record):
    """How long one prediction of one sample takes."""

    median_ms: float
    spread_ms: float  #: Between the quartiles.


class Latency(_Record):
    """A file's timing beside that of the same network with no weight zero, measured in turns."""

    threads: int
    pruned: Timing
    dense: Timing


class Compressed(_Record):
    """A file as it is sent to who accepts this ``Content-Encoding``."""

    encoding: Encoding
    bytes: int
    sha256: str


class ArtifactResult(_Record):
    """One downloadable file and what was measured on it."""

    name: str
    format: str
    bytes: int
    compressed_bytes: int  #: Size under gzip, as a server or an app bundle would carry it.
    sha256: str
    verified: bool
    max_abs_error: float  #: Largest difference from the pruned model's outputs, real samples.
    metrics: Metrics
    latency_ms: float  #: Median time of one prediction of one sample, all threads.
    latency: tuple[Latency, ...] = ()  #: On one thread, where the runtime can; on all.
    compressed: tuple[Compressed, ...] = ()  #: Empty where compressing gains nothing.
    nonzero: int | None = None  #: Weights in the file that are not zero.
    remarks: tuple[str, ...] = ()  #: Whole sentences on what is particular about it.


class JobResult(_Record):
    """The figures of a job that succeeded."""

    baseline: Metrics | None  #: ``None`` when the job had no data.
    pruned: Metrics | None
    evaluated_on: EvaluatedOn | None
    sparsity: float  #: Fraction of zeros among the prunable weights.
    uploaded: Uploaded
    parameters: ParameterCounts
    layers: tuple[LayerSparsity, ...]
    artifacts: tuple[ArtifactResult, ...]
