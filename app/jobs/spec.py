"""What the caller asks for. Bounds on pruning itself are stated once, in ``pruning_core``."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from app.jobs.errors import FieldError, RefusedSpecError
from app.jobs.faults import parsed, path_of, pointer, received
from app.jobs.formats import ArtifactFormat
from app.jobs.receivers import require_receiver
from app.jobs.strict_json import parse_json
from pruning_core.config import (
    Allocation,
    Granularity,
    LayerRule,
    PruningConfig,
    Unstructured,
)
from pruning_core.errors import PruningConfigError
from pruning_core.recipe import Distillation
from pruning_core.schedule import PolynomialDecay, Schedule
from pruning_core.tfmot import config_from_tfmot, schedule_from_tfmot

#: The losses that can be named in a spec; each takes the model's output as it is.
LossName = Literal[
    "binary_crossentropy",
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
    "mean_squared_error",
    "mean_absolute_error",
    "huber",
]
MetricName = Literal["accuracy", "mean_squared_error", "mean_absolute_error"]

#: Arguments of TFMOT's ``prune_low_magnitude``, taken beside our own settings.
_TFMOT_SETTINGS = frozenset(
    {"block_pooling_type", "block_size", "pruning_policy", "pruning_schedule", "sparsity_m_by_n"}
)

MAX_SPEC_BYTES = 64 * 1024
_MAX_DEPTH = 32

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Adam(_Record):
    """Adam; with ``weight_decay``, AdamW."""

    kind: Literal["adam"] = "adam"
    learning_rate: _Positive = 0.001
    weight_decay: Annotated[float, Field(ge=0, lt=1)] | None = None


class Sgd(_Record):
    """Stochastic gradient descent."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: _Positive = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    nesterov: bool = False


class Training(_Record):
    """How the model is fine-tuned while it is pruned."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 2
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 128
    optimizer: Annotated[Adam | Sgd, Field(discriminator="kind")] = Adam()
    #: ``None``: as the model was compiled; failing that, inferred from labels and output.
    loss: LossName | None = None
    #: ``None``: as the model was compiled; failing that, accuracy for a classifier.
    metrics: tuple[MetricName, ...] | None = None
    #: Share of the training samples held out, the last ones of the file. ``None``: 0.1 where
    #: the dataset has no test and no validation part, else 0.
    validation_split: Annotated[float, Field(ge=0, lt=1)] | None = None
    #: How much the unpruned model teaches the pruned one, beside the labels; ``None``: not at all.
    distillation: Distillation | None = None
    #: Whether batch normalisation is measured anew on the training samples once the model is
    #: pruned. ``None``: where the data have no labels.
    recalibrate: bool | None = None
    #: Whether the learning rate falls to zero once the last sparsity is reached. ``None``: where
    #: steps are left for it.
    cool_down: bool | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class Preprocessing(_Record):
    """What is done to every input before the model sees it: ``x * rescale + offset``."""

    rescale: Annotated[float, Field(allow_inf_nan=False)] | None = None
    offset: Annotated[float, Field(allow_inf_nan=False)] = 0.0


class _Feature(_Record):
    name: Annotated[str, Field(min_length=1, max_length=200)]


_Shape = tuple[Annotated[int, Field(ge=1, le=2**20)], ...]


class NumbersFeature(_Feature):
    """A feature of so many integers or floats, as ``tf.io.FixedLenFeature`` has it."""

    kind: Literal["numbers"] = "numbers"
    shape: Annotated[_Shape, Field(max_length=8)] = ()


class ImageFeature(_Feature):
    """A feature that is an encoded image: PNG, JPEG or BMP."""

    kind: Literal["image"] = "image"


class RawFeature(_Feature):
    """A feature that is the bytes of an array, as ``tf.io.decode_raw`` takes them."""

    kind: Literal["raw"] = "raw"
    dtype: Literal["uint8", "int8", "uint16", "int16", "int32", "int64", "float32", "float64"]
    shape: Annotated[_Shape, Field(max_length=8)] = ()


class Reading(_Record):
    """How the file of data becomes samples, where it does not hold arrays."""

    #: Column of a table, or feature of records, that holds the labels. ``None``: ``label``, where
    #: there is one.
    label: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    #: Class numbers, or rows with a single 1. ``None``: as the loss takes them.
    label_mode: Literal["int", "categorical"] | None = None
    #: Whether samples are put in an order of the seed before some are held out. ``None``: yes.
    shuffle: bool | None = None
    #: Height and width that images are scaled to. ``None``: what the model takes, failing that
    #: their own.
    image_size: (
        tuple[Annotated[int, Field(ge=1, le=8192)], Annotated[int, Field(ge=1, le=8192)]] | None
    ) = None
    #: What the features of records are, as nothing in the file says it.
    features: tuple[
        Annotated[NumbersFeature | ImageFeature | RawFeature, Field(discriminator="kind")], ...
    ] = ()


class Webhook(_Record):
    """Who is told when the job has ended, signed as Standard Webhooks have it."""

    url: str

    @field_validator("url")
    @classmethod
    def _refuse_what_cannot_be_told(cls, url: str) -> str:
        return require_receiver(url)


class JobSpec(_Record):
    """One request to prune; ``{}`` is a valid one."""

    schedule: Annotated[Schedule, Field(discriminator="kind")] = PolynomialDecay()
    granularity: Annotated[Granularity, Field(discriminator="kind")] = Unstructured()
    #: ``None``: uniform with data, layer_adaptive without.
    allocation: Annotated[Allocation, Field(discriminator="kind")] | None = None
    layers: tuple[LayerRule, ...] = ()
    training: Training = Training()
    preprocessing: Preprocessing = Preprocessing()
    data: Reading = Reading()
    artifacts: Annotated[tuple[ArtifactFormat, ...], Field(min_length=1)] = ("keras",)
    webhook: Webhook | None = None
    #: How long the job and its files are kept once it has ended. ``None``: for ever, or for as
    #: long as the operator keeps any.
    retention_seconds: Annotated[int, Field(ge=60, le=10 * 366 * 24 * 3600)] | None = None
    #: Of the caller's own jobs that wait, the highest goes first; other callers do not feel it.
    priority: Annotated[int, Field(ge=-10, le=10)] = 0

    @field_validator("artifacts")
    @classmethod
    def _refuse_repeated_artifacts(
        cls, artifacts: tuple[ArtifactFormat, ...]
    ) -> tuple[ArtifactFormat, ...]:
        if len(set(artifacts)) < len(artifacts):
            message = "artifacts must name each format once"
            raise ValueError(message)
        return artifacts

    @model_validator(mode="after")
    def _refuse_what_the_library_refuses(self) -> Self:
        self.pruning_config().with_sparsities()
        return self

    def kept_at_most(self, seconds: int | None) -> Self:
        """Return the spec of a job that is kept no longer than that; ``None`` for no bound."""
        if seconds is None:
            return self
        own = self.retention_seconds
        return self.model_copy(
            update={"retention_seconds": seconds if own is None else min(own, seconds)}
        )

    def pruning_config(self) -> PruningConfig:
        """The part of it that the library needs."""
        return PruningConfig(
            schedule=self.schedule,
            granularity=self.granularity,
            allocation=self.allocation,
            layers=self.layers,
        )


def parse_spec(raw: bytes | str) -> JobSpec:
    """Return the spec that a caller wrote as JSON.

    Raises:
        RefusedSpecError: with every fault and where it stands.

    >>> parse_spec('{"training": {"epochs": 3}}').training.epochs
    3
    >>> parse_spec('{"epochs": 3}')
    Traceback (most recent call last):
    app.jobs.errors.RefusedSpecError: /epochs: the spec has no field "epochs". Received: 3
    """
    try:
        value = parse_json(raw, max_bytes=MAX_SPEC_BYTES, max_depth=_MAX_DEPTH)
    except ValueError as error:
        raise RefusedSpecError(FieldError("", str(error))) from error
    return parsed(JobSpec, _with_own_settings(value))


def _with_own_settings(value: JsonValue) -> JsonValue:
    """Return the spec with TFMOT's settings written as ours."""
    if not isinstance(value, dict):
        return value
    spec = _with_own_config(_with_own_schedule(value, ()))
    rules = spec.get("layers")
    if isinstance(rules, list):
        spec["layers"] = [
            _with_own_schedule(rule, ("layers", place)) if isinstance(rule, dict) else rule
            for place, rule in enumerate(rules)
        ]
    return spec


def _with_own_config(spec: dict[str, JsonValue]) -> dict[str, JsonValue]:
    theirs = {name: setting for name, setting in spec.items() if name in _TFMOT_SETTINGS}
    if not theirs:
        return spec
    for ours in ("schedule", "granularity"):
        if ours in spec:
            rule = f"{ours} must be left out beside TFMOT's {', '.join(theirs)}"
            raise RefusedSpecError(FieldError(f"/{ours}", f"{rule}. {received(spec[ours])}"))
    try:
        config = config_from_tfmot(theirs)
    except PruningConfigError as error:
        raise RefusedSpecError(FieldError(pointer(path_of(error.field)), str(error))) from error
    return {
        **{name: setting for name, setting in spec.items() if name not in theirs},
        "schedule": dataclasses.asdict(config.schedule),
        "granularity": dataclasses.asdict(config.granularity),
    }


def _with_own_schedule(
    owner: dict[str, JsonValue], path: tuple[str | int, ...]
) -> dict[str, JsonValue]:
    theirs = owner.get("schedule")
    if not (isinstance(theirs, dict) and isinstance(theirs.get("class_name"), str)):
        return dict(owner)
    try:
        ours = schedule_from_tfmot(theirs)
    except PruningConfigError as error:
        fault = FieldError(pointer((*path, "schedule", *path_of(error.field))), str(error))
        raise RefusedSpecError(fault) from error
    return {**owner, "schedule": dataclasses.asdict(ours)}
