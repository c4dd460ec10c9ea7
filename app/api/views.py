"""The shapes of answers that are not records of ``app.jobs`` as they are."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from app.jobs.confinement.process import Confinement
from app.jobs.delivery import Attempt, Delivery, DeliveryStatus
from app.jobs.events import Event
from app.jobs.history import Columns, History
from app.jobs.job import FileRef, Job
from app.jobs.uploads import DatasetSummary, ModelSummary, StoredDataset, StoredModel


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class JobView(Job):
    """A job, and where it stands as a page."""

    report_url: str = Field(description="Its report, an HTML page, relative to the server")

    @classmethod
    def of(cls, job: Job) -> Self:
        """Show ``job``."""
        return cls(report_url=f"/v1/jobs/{job.id}/report", **dict(job))


class JobPage(_View):
    """Some jobs, the newest first."""

    jobs: tuple[JobView, ...]
    next_cursor: str | None = Field(description="`after` of the next page; null on the last")


class EventView(_View):
    """One thing that happened to a job."""

    id: int = Field(description="Rises by one; the `id` of a server-sent event")
    at: datetime
    kind: str
    data: dict[str, Any]

    @classmethod
    def of(cls, event: Event) -> Self:
        """Show ``event``."""
        return cls(id=event.number, at=event.at, kind=event.kind.value, data=dict(event.data))


class MetricsView(_View):
    """What was measured in training: for each column one value a row."""

    steps: Columns
    epochs: Columns

    @classmethod
    def of(cls, history: History) -> Self:
        """Show ``history``."""
        return cls(steps=history.steps, epochs=history.epochs)


class ArtifactView(_View):
    """A file that can be downloaded."""

    name: str
    format: str
    bytes: int
    sha256: str
    url: str = Field(description="Where to get it, relative to the server")


class DeliveryView(_View):
    """One message to a webhook; its `id` is the same each time it is sent."""

    id: str
    url: str
    type: str = Field(description="`job.succeeded`, `job.failed` or `job.cancelled`")
    created_at: datetime
    status: DeliveryStatus
    attempts: tuple[Attempt, ...]
    next_attempt_at: datetime | None

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """Show ``delivery``."""
        return cls.model_validate(delivery.model_dump(exclude={"job_id"}))


class WebhookSecret(_View):
    """What a tenant's webhooks are signed with."""

    secret: str = Field(description="As Standard Webhooks write it, `whsec_…`")


class _UploadedFile(FileRef):
    created_at: datetime


class ModelView(ModelSummary, _UploadedFile):
    """An uploaded model, and what is in it."""

    @classmethod
    def of(cls, model: StoredModel) -> Self:
        """Show ``model``."""
        return cls(created_at=model.created_at, **dict(model.ref), **dict(model.summary))


class DatasetView(DatasetSummary, _UploadedFile):
    """An uploaded dataset, and what is in it."""

    @classmethod
    def of(cls, dataset: StoredDataset) -> Self:
        """Show ``dataset``."""
        return cls(created_at=dataset.created_at, **dict(dataset.ref), **dict(dataset.summary))


class Alive(_View):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(_View):
    """The service can take jobs."""

    status: Literal["ready"] = "ready"
    checks: dict[str, str] = Field(description="What was looked at, and `ok` for each")
    confinement: Confinement | None = Field(
        description="What the kernel keeps the processes that open uploaded models from, on the "
        "least protected machine; `null` while there is no worker"
    )
    notes: tuple[str, ...] = Field(description="What the operator should know")
