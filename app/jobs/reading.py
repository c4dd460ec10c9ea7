"""What a dataset file will be once it is decoded: the arrays that an ``.npz`` would have had.

Worked out from the file's summary, the model's and the job's settings alone, so that a preflight
says it, the API refuses by it, and the process that decodes carries out exactly that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from app.jobs.errors import FieldError, RefusedSpecError
from app.jobs.spec import ImageFeature, JobSpec, NumbersFeature, RawFeature, Reading
from app.jobs.uploads import ColumnSummary, DatasetSummary, ModelSummary, TensorSpec

Shape: TypeAlias = tuple[int, ...]
Feature: TypeAlias = NumbersFeature | ImageFeature | RawFeature

#: Of all arrays together.
MAX_DECODED_BYTES = 16 * 2**30

#: The file itself; what is said of how it is read lies below.
_DATA = "/data"
_LABEL = "label"
_CATEGORICAL_LOSS = "categorical_crossentropy"
_CHANNELS = (1, 3, 4)
_RANK_OF_IMAGES = 4
_NAMES_SHOWN = 10
_BYTES = {"uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "float64": 8, "int64": 8}


@dataclass(frozen=True)
class Field:
    """Where the values of one array come from."""

    #: Columns of a table, in order; the feature of records; nothing for a folder.
    sources: tuple[str, ...]
    shape: Shape  #: Of one sample, once decoded.
    dtype: str  #: As NumPy writes it.
    feature: Feature | None = None  #: Of records.


@dataclass(frozen=True)
class Decoding:
    """How one file of data becomes arrays."""

    inputs: tuple[Field, ...]  #: In the order of the model's inputs.
    label: Field | None
    arrays: DatasetSummary  #: As an ``.npz`` of the outcome would be summarised.
    reading: Reading  #: Every default filled in.


def decoding(spec: JobSpec, model: ModelSummary, dataset: DatasetSummary) -> Decoding | None:
    """Say how the file becomes arrays; ``None`` where it holds arrays already.

    Args:
        spec: As it was asked for, or with its defaults filled in.
        model: What the samples are for.
        dataset: What is in the file.

    Raises:
        RefusedSpecError: the file, read like this, does not fit the model.
    """
    reading = spec.data
    if dataset.kind == "npz":
        _require_nothing_to_read(reading)
        return None
    if dataset.kind in {"csv", "tfrecord"} and reading.label is None:
        has_label = any(column.name == _LABEL for column in dataset.columns)
        reading = reading.model_copy(update={"label": _LABEL if has_label else None})
    reading = reading.model_copy(
        update={
            "shuffle": reading.shuffle is not False,
            "label_mode": reading.label_mode or _label_mode(spec, model),
        }
    )
    match dataset.kind:
        case "csv":
            return _of_table(reading, model, dataset)
        case "tfrecord":
            return _of_records(reading, model, dataset)
        case "images":
            return _of_images(reading, model, dataset)
        case "text":
            return _of_texts(reading, model, dataset)


def _label_mode(spec: JobSpec, model: ModelSummary) -> str:
    loss = spec.training.loss or model.compiled_loss
    return "categorical" if loss == _CATEGORICAL_LOSS else "int"


def _require_nothing_to_read(reading: Reading) -> None:
    given = sorted(
        name for name, value in reading.model_dump(exclude_defaults=True).items() if value
    )
    if given:
        field = f"{_DATA}/{given[0]}"
        raise _refusal(
            field,
            f"{given[0]} must be left out for an .npz, whose arrays are used as they are",
            "a value",
        )


def _of_table(reading: Reading, model: ModelSummary, dataset: DatasetSummary) -> Decoding:
    label = _column(reading.label, dataset)
    values = [column for column in dataset.columns if column is not label]
    texts = [column.name for column in values if column.kind == "text"]
    if texts:
        raise _refusal(
            _DATA,
            "every column but that of the labels (data.label) must hold numbers",
            f"texts in {_shown(texts)}",
        )
    if label is not None and label.kind == "text" and not label.classes:
        raise _refusal("/data/label", "the texts of the labels must be few and short", label.name)
    names = [column.name for column in values]
    inputs = tuple(_columns_of(tensor, names, model) for tensor in model.inputs)
    if label is None:
        return _decoding(reading, model, dataset, inputs)
    classes = label.classes if label.kind == "text" else ()
    found = _Labels(
        label.name,
        0.0 if classes else _known(label.lowest),
        float(len(classes) - 1) if classes else _known(label.highest),
        is_whole=bool(classes) or label.kind == "integer",
    )
    return _decoding(reading, model, dataset, inputs, found, classes=classes)


def _columns_of(tensor: TensorSpec, names: list[str], model: ModelSummary) -> Field:
    """Return the columns of one input: its own, or all of them where it is the only input."""
    sample = tensor.shape[1:]
    if len(model.inputs) > 1:
        if tensor.name not in names or not _fits((1,), sample or (1,)):
            wanted = ", ".join(each.name for each in model.inputs)
            rule = "each of the model's inputs takes one number, from the column of its name"
            raise _refusal(_DATA, f"{rule} ({wanted})", _shown(names))
        return Field((tensor.name,), (1,) if sample else (), "float32")
    shape = _filled(sample, len(names))
    if shape is None:
        raise _refusal(
            _DATA,
            f"the columns of a row must fill the model's input {_shape_in_words(sample)}",
            f"{len(names)} columns",
        )
    return Field(tuple(names), shape, "float32")


def _filled(sample: tuple[int | None, ...], count: int) -> Shape | None:
    """Return the shape that ``count`` values fill, row by row; ``None`` where they do not."""
    known = math.prod(size for size in sample if size is not None)
    free = sum(size is None for size in sample)
    if free > 1 or (free == 0 and known != count) or (free == 1 and count % known):
        return None
    return tuple(count // known if size is None else size for size in sample)


def _of_images(reading: Reading, model: ModelSummary, dataset: DatasetSummary) -> Decoding:
    tensor = _only_input(model, "images")
    own = dataset.arrays[0].shape[1:3]
    shape, dtype = _image_form(reading, tensor, (own[0], own[1]))
    labels = _Labels("", 0.0, float(len(dataset.classes) - 1), is_whole=True)
    reading = reading.model_copy(update={"image_size": shape[:2]})
    return _decoding(reading, model, dataset, (Field((), shape, dtype),), labels)


def _image_form(
    reading: Reading, tensor: TensorSpec, own: tuple[int | None, int | None]
) -> tuple[Shape, str]:
    """Return the shape that images get, and their dtype.

    An image that keeps its size stays bytes; one that is scaled becomes floats from 0 to 255, as
    ``keras.utils.image_dataset_from_directory`` makes them.
    """
    if len(tensor.shape) != _RANK_OF_IMAGES or tensor.shape[-1] not in _CHANNELS:
        raise _refusal(
            _DATA,
            "images are for an input of (height, width, channels) with 1, 3 or 4 channels",
            f"the model's input {_shape_in_words(tensor.shape[1:])}",
        )
    height, width, channels = tensor.shape[1:]
    wanted = reading.image_size or (own if None in (height, width) else (height, width))
    if None in wanted:
        raise _refusal(
            "/data/image_size",
            "image_size must be given where neither the model nor the images have one size",
            "null",
        )
    size = (wanted[0] or 0, wanted[1] or 0)
    if not _fits(size, (height, width)):
        raise _refusal(
            "/data/image_size",
            f"image_size must be what the model's input takes, {_shape_in_words((height, width))}",
            _shape_in_words(size),
        )
    return (*size, channels or 0), "uint8" if own == size else "float32"


def _of_texts(reading: Reading, model: ModelSummary, dataset: DatasetSummary) -> Decoding:
    tensor = _only_input(model, "texts")
    if tensor.dtype != "string":
        raise _refusal(
            _DATA,
            "texts are for a model that takes them, by an input of dtype string and a "
            "TextVectorization layer behind it",
            f"an input of {tensor.dtype}",
        )
    shape = tuple(1 for _ in tensor.shape[1:])
    labels = _Labels("", 0.0, float(len(dataset.classes) - 1), is_whole=True)
    field = Field((), shape, dataset.arrays[0].dtype)
    return _decoding(reading, model, dataset, (field,), labels)


def _of_records(reading: Reading, model: ModelSummary, dataset: DatasetSummary) -> Decoding:
    columns = {column.name: column for column in dataset.columns}
    if not reading.features:
        described = ", ".join(_described(column) for column in dataset.columns[:_NAMES_SHOWN])
        raise _refusal("/data/features", "features must say what the records hold", described)
    for place, feature in enumerate(reading.features):
        if feature.name not in columns:
            path = f"/data/features/{place}/name"
            raise _refusal(
                path, f"name must be a feature of the records ({_shown(columns)})", feature.name
            )
        _require_fits(feature, columns[feature.name], f"/data/features/{place}")
    label = _column(reading.label, dataset)
    features = {feature.name: feature for feature in reading.features}
    if label is not None and not isinstance(features.get(label.name), NumbersFeature):
        raise _refusal(
            "/data/features",
            f"the labels, {label.name!r}, must be described as numbers",
            "something else" if label.name in features else "nothing",
        )
    values = [
        feature for feature in reading.features if label is None or feature.name != label.name
    ]
    inputs = tuple(
        _field_of(tensor, values, columns, reading, alone=len(model.inputs) == 1)
        for tensor in model.inputs
    )
    if label is None:
        return _decoding(reading, model, dataset, inputs)
    shape = features[label.name]
    labels = _Labels(
        label.name,
        _known(label.lowest),
        _known(label.highest),
        is_whole=label.kind == "integer",
        shape=shape.shape if isinstance(shape, NumbersFeature) else (),
        feature=shape,
    )
    return _decoding(reading, model, dataset, inputs, labels)


def _field_of(
    tensor: TensorSpec,
    features: Sequence[Feature],
    columns: dict[str, ColumnSummary],
    reading: Reading,
    *,
    alone: bool,
) -> Field:
    named = [feature for feature in features if feature.name == tensor.name]
    found = named or (list(features) if alone else [])
    if len(found) != 1:
        raise _refusal(
            "/data/features",
            f"one feature must be for the model's input {tensor.name!r}: that of its name, or the "
            "only one besides the labels",
            _shown([feature.name for feature in features]) or "none",
        )
    [feature] = found
    column = columns[feature.name]
    match feature:
        case ImageFeature():
            shape, dtype = _image_form(reading, tensor, column.image or (None, None))
        case RawFeature():
            shape, dtype = feature.shape, feature.dtype
        case NumbersFeature():
            shape, dtype = feature.shape, "int64" if column.kind == "integer" else "float32"
    return Field((feature.name,), shape, dtype, feature)


def _require_fits(feature: Feature, column: ColumnSummary, path: str) -> None:
    shape_at, kind_at = f"{path}/shape", f"{path}/kind"
    if isinstance(feature, NumbersFeature):
        if column.kind == "bytes" or column.width != math.prod(feature.shape):
            wanted = f"shape must be that of the numbers of {feature.name!r} in each record"
            raise _refusal(shape_at, wanted, _described(column))
        return
    if column.kind != "bytes" or column.width != 1:
        raise _refusal(kind_at, f"kind must fit {feature.name!r}", _described(column))
    if isinstance(feature, ImageFeature) and column.image is None:
        rule = f"{feature.name!r} must be a PNG, a JPEG or a BMP"
        raise _refusal(kind_at, rule, "other bytes")


@dataclass(frozen=True)
class _Labels:
    """What is known of labels before they are decoded."""

    source: str  #: Empty for folders.
    lowest: float
    highest: float
    is_whole: bool
    shape: Shape = ()
    feature: Feature | None = None


def _decoding(  # noqa: PLR0913
    reading: Reading,
    model: ModelSummary,
    dataset: DatasetSummary,
    inputs: tuple[Field, ...],
    labels: _Labels | None = None,
    *,
    classes: tuple[str, ...] = (),
) -> Decoding:
    label = None if labels is None else _label_field(labels, reading, model)
    arrays = _arrays(model, dataset, inputs, label)
    size = sum(
        math.prod(size or 0 for size in array.shape) * _item_bytes(array.dtype) for array in arrays
    )
    if size > MAX_DECODED_BYTES:
        raise _refusal(
            _DATA, f"the data must have at most {MAX_DECODED_BYTES} bytes once decoded", f"{size}"
        )
    is_categorical = (
        label is not None and labels is not None and label.shape not in {labels.shape, ()}
    )
    summary = dataset.model_copy(
        update={
            "arrays": arrays,
            "columns": (),
            "classes": classes or dataset.classes,
            "integer_labels": labels is not None
            and labels.is_whole
            and not is_categorical
            and labels.shape in {(), (1,)},
            "lowest_label": None if labels is None else 0.0 if is_categorical else labels.lowest,
            "highest_label": None if labels is None else 1.0 if is_categorical else labels.highest,
        }
    )
    return Decoding(inputs, label, summary, reading)


def _label_field(labels: _Labels, reading: Reading, model: ModelSummary) -> Field:
    sources = (labels.source,) if labels.source else ()
    if reading.label_mode != "categorical" or labels.shape not in {(), (1,)}:
        dtype = "int64" if labels.is_whole else "float32"
        return Field(sources, labels.shape, dtype, labels.feature)
    count = model.output_units or int(labels.highest) + 1
    if not labels.is_whole or not 0 <= labels.lowest <= labels.highest < count:
        raise _refusal(
            _DATA,
            f"labels must be class numbers from 0 to {count - 1} to become rows with a single 1",
            f"{labels.lowest:g} to {labels.highest:g}",
        )
    return Field(sources, (count,), "float32", labels.feature)


def _arrays(
    model: ModelSummary, dataset: DatasetSummary, inputs: tuple[Field, ...], label: Field | None
) -> tuple[TensorSpec, ...]:
    counts = {
        "train": dataset.train_samples,
        "val": dataset.validation_samples,
        "test": dataset.test_samples,
    }
    return tuple(
        TensorSpec(name=name, shape=(count, *field.shape), dtype=field.dtype)
        for part, count in counts.items()
        if count
        for name, field in array_names(part, [one.name for one in model.inputs], inputs, label)
    )


def array_names(
    part: str, names: Sequence[str], inputs: Sequence[Field], label: Field | None
) -> list[tuple[str, Field]]:
    """Return the arrays of one part, as they are called in an ``.npz``, and what they hold."""
    alone = len(names) == 1
    named = [
        (f"x_{part}" if alone else f"x_{part}/{name}", field)
        for name, field in zip(names, inputs, strict=True)
    ]
    return named if label is None else [*named, (f"y_{part}", label)]


def _column(name: str | None, dataset: DatasetSummary) -> ColumnSummary | None:
    if name is None:
        return None
    for column in dataset.columns:
        if column.name == name:
            return column
    names = [column.name for column in dataset.columns]
    what = "a column" if dataset.kind == "csv" else "a feature"
    raise _refusal("/data/label", f"label must be {what} of the file ({_shown(names)})", repr(name))


def _only_input(model: ModelSummary, what: str) -> TensorSpec:
    if len(model.inputs) != 1:
        names = [tensor.name for tensor in model.inputs]
        raise _refusal(_DATA, f"a folder of {what} is for a model with one input", _shown(names))
    return model.inputs[0]


def _fits(given: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(given) == len(wanted) and all(
        size is None or size == there for size, there in zip(wanted, given, strict=True)
    )


def _known(value: float | None) -> float:
    return 0.0 if value is None else value


def _item_bytes(dtype: str) -> int:
    return int(dtype[1:]) if dtype.startswith("S") else _BYTES.get(dtype, 4)


def _described(column: ColumnSummary) -> str:
    many = "a varying number of" if column.width is None else str(column.width)
    what = "image" if column.image is not None else column.kind
    return f"{column.name} ({many} {what})"


def _shown(names: Sequence[str] | dict[str, ColumnSummary]) -> str:
    listed = list(names)
    more = len(listed) - _NAMES_SHOWN
    return ", ".join(listed[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _shape_in_words(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"


def _refusal(pointer: str, rule: str, evidence: str) -> RefusedSpecError:
    return RefusedSpecError(FieldError(pointer, f"{rule}. Received: {evidence}"))
