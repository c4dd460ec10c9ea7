"""What the static check learns about an uploaded file, without TensorFlow."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from app.jobs.job import FileRef

#: One of the files that a job is made from.
Upload: TypeAlias = Literal["model", "dataset"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorSpec(_Record):
    """A named input of a model, or a named array of a dataset."""

    name: str
    shape: tuple[int | None, ...]  #: ``None`` where the size is free; an array's first is samples.
    dtype: str


class WeightSummary(_Record):
    """One weight tensor of one layer."""

    layer: str  #: Path of the layer, for example ``encoder/dense``.
    class_name: str
    weight: str  #: Name in its layer, for example ``kernel``.
    shape: tuple[int, ...]
    dtype: str
    prunable: bool
    reason: str | None  #: Why not; ``None`` when prunable.
    trainable: bool = True  #: False in a layer that is frozen.
    #: Of an ``EinsumDense``; it says which axes of the kernel are outputs.
    equation: str | None = None


class LayerSummary(_Record):
    """One layer, in the order of the file, nested ones by their path."""

    name: str
    class_name: str
    parameters: int


class ModelSummary(_Record):
    """What is in a model file."""

    format: Literal["keras", "h5"]
    keras_version: str
    class_name: str  #: ``Sequential``, ``Functional``.
    inputs: tuple[TensorSpec, ...]  #: Shapes with the batch in front.
    outputs: tuple[str, ...]  #: Names of the layers that give them.
    layers: tuple[LayerSummary, ...]
    weights: tuple[WeightSummary, ...]
    parameters: int
    weight_bytes: int  #: Of the model's own weights.
    optimizer_bytes: int  #: What the file holds only for training; 0 when it was not saved.
    compiled_loss: str | None
    output_units: int | None  #: Size of the last axis of a single output; ``None`` if unknown.
    #: What has to be said otherwise for Keras 3 in a file of Keras 2; such a file is converted
    #: first, and held against the original.
    changes_for_keras_3: tuple[str, ...] = ()


#: What a dataset file can be: arrays; a table; a zip with a folder of images, or of texts, for each
#: class; records of TensorFlow.
DatasetKind: TypeAlias = Literal["npz", "csv", "images", "text", "tfrecord"]


class ColumnSummary(_Record):
    """One column of a table, or one feature of records."""

    name: str
    kind: Literal["integer", "float", "text", "bytes"]  #: Of its values; integers are whole.
    width: int | None = 1  #: Values in each sample; ``None`` where it varies, or some have none.
    lowest: float | None = None
    highest: float | None = None
    classes: tuple[str, ...] = ()  #: The texts in order, of a table; empty where they are too many.
    #: Height and width, where every value is an encoded image; ``None`` in it where they vary.
    image: tuple[int | None, int | None] | None = None


class DatasetSummary(_Record):
    """What is in a dataset file."""

    kind: DatasetKind = "npz"
    #: As stored: ``x_train``, ``x_train/<input>``, ``y_test``; images and texts as they would be.
    arrays: tuple[TensorSpec, ...]
    columns: tuple[ColumnSummary, ...] = ()  #: Of a table or of records, which have no arrays yet.
    classes: tuple[str, ...] = ()  #: Names of the folders: the first is class 0.
    ignored: tuple[str, ...]  #: Names of the arrays that mean nothing here; they were not read.
    train_samples: int
    validation_samples: int  #: 0 when the file has no ``x_val``.
    test_samples: int  #: 0 when the file has no ``x_test``.
    integer_labels: bool  #: ``y`` holds whole numbers, one a sample.
    lowest_label: float | None  #: ``None`` in a file without labels.
    highest_label: float | None

    @property
    def suffix(self) -> str:
        """What its file is stored as."""
        return {"images": "zip", "text": "zip"}.get(self.kind, self.kind)

    @property
    def has_labels(self) -> bool:
        """Whether the samples have labels; all of them have, or none."""
        return self.lowest_label is not None


class StoredModel(_Record):
    """An uploaded model, as the service keeps it."""

    ref: FileRef
    key: str  #: Where the artifact store has it.
    created_at: datetime
    summary: ModelSummary
    uploaded_with: str | None  #: Id of the job it came with; it goes when the job goes.


class StoredDataset(_Record):
    """An uploaded dataset, as the service keeps it."""

    ref: FileRef
    key: str
    created_at: datetime
    summary: DatasetSummary
    uploaded_with: str | None
