"""What the caller asks for. Bounds on pruning itself are stated once, in ``pruning_core``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.jobs.errors import FieldError, RefusedSpecError
from pruning_core.config import (
    Allocation,
    Granularity,
    LayerRule,
    PruningConfig,
    Uniform,
    Unstructured,
)
from pruning_core.errors import PruningConfigError
from pruning_core.schedule import PolynomialDecay, Schedule

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
ArtifactFormat = Literal["keras"]

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
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class Preprocessing(_Record):
    """What is done to every input before the model sees it: ``x * rescale + offset``."""

    rescale: Annotated[float, Field(allow_inf_nan=False)] | None = None
    offset: Annotated[float, Field(allow_inf_nan=False)] = 0.0


class JobSpec(_Record):
    """One request to prune; ``{}`` is a valid one."""

    schedule: Annotated[Schedule, Field(discriminator="kind")] = PolynomialDecay()
    granularity: Granularity = Unstructured()
    allocation: Allocation = Uniform()
    layers: tuple[LayerRule, ...] = ()
    training: Training = Training()
    preprocessing: Preprocessing = Preprocessing()
    artifacts: Annotated[tuple[ArtifactFormat, ...], Field(min_length=1)] = ("keras",)
    webhook: None = None

    def pruning_config(self) -> PruningConfig:
        """The part of it that the library needs."""
        return PruningConfig(
            schedule=self.schedule,
            granularity=self.granularity,
            allocation=self.allocation,
            layers=self.layers,
        )
