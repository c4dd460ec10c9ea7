"""The tables, as the migrations leave them behind; a test compares the two."""

from __future__ import annotations

from typing import Any

from pydantic import JsonValue
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Enum,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
)

from app.jobs.artifacts import StoredCheckpoint
from app.jobs.columns import Id, JsonOf, UtcDateTime
from app.jobs.confinement.process import Confinement
from app.jobs.delivery import Attempt, DeliveryStatus
from app.jobs.devices import Device
from app.jobs.events import EventKind
from app.jobs.history import Columns, Scope
from app.jobs.job import Failure, FileRef, JobStatus, Notice, Progress, Stage
from app.jobs.lanes import Lane
from app.jobs.result import JobResult
from app.jobs.spec import JobSpec
from app.jobs.uploads import DatasetSummary, ModelSummary

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _word(kind: type[JobStatus | Stage | EventKind | Scope | DeliveryStatus | Lane]) -> Enum:
    """Return the column type of a word out of a few; the database sees a string."""
    return Enum(kind, native_enum=False, length=32, values_callable=list)


def _id() -> Id:
    return Id()


def _tenant(*, primary_key: bool = False, index: bool = False) -> Column[Any]:
    # Without a default: a row must say to whom it belongs.
    return Column("tenant", String(63), nullable=False, primary_key=primary_key, index=index)


def _of_job() -> Column[Any]:
    return Column("job_id", _id(), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)


models = Table(
    "models",
    metadata,
    Column("id", _id(), primary_key=True),
    _tenant(index=True),
    Column("ref", JsonOf(FileRef), nullable=False),
    #: That of ``ref``, where it can be summed.
    Column("bytes", BigInteger, nullable=False),
    Column("key", String(255), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("summary", JsonOf(ModelSummary), nullable=False),
    Column("uploaded_with", _id(), index=True),
)

datasets = Table(
    "datasets",
    metadata,
    Column("id", _id(), primary_key=True),
    _tenant(index=True),
    Column("ref", JsonOf(FileRef), nullable=False),
    #: That of ``ref``, where it can be summed.
    Column("bytes", BigInteger, nullable=False),
    Column("key", String(255), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("summary", JsonOf(DatasetSummary), nullable=False),
    Column("uploaded_with", _id(), index=True),
)

#: ``bytes`` are those of the whole file: they are the tenant's as soon as they are announced.
partial_uploads = Table(
    "partial_uploads",
    metadata,
    Column("id", _id(), primary_key=True),
    _tenant(index=True),
    Column("kind", String(32), nullable=False),
    Column("filename", String(255), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("metadata", String(4096), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
)

#: The first block is the job record; the second is what only the store knows of it.
jobs = Table(
    "jobs",
    metadata,
    Column("id", _id(), primary_key=True),
    Column("status", _word(JobStatus), nullable=False),
    Column("stage", _word(Stage)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("progress", JsonOf(Progress)),
    Column("model", JsonOf(FileRef), nullable=False),
    Column("dataset", JsonOf(FileRef)),
    Column("spec", JsonOf(JobSpec), nullable=False),
    Column("warnings", JsonOf(tuple[Notice, ...]), nullable=False),
    Column("failure", JsonOf(Failure)),
    Column("result", JsonOf(JobResult)),
    _tenant(),
    # No foreign keys: a finished job outlives the files that it was made from.
    Column("model_id", _id(), nullable=False, index=True),
    Column("dataset_id", _id(), index=True),
    #: Rises with every claim; who holds a lower one can write nothing any more.
    Column("fence", Integer, nullable=False, default=0),
    #: Claims that count against ``max_attempts``: since the last checkpoint, its own included.
    Column("attempts", Integer, nullable=False, default=0),
    #: Time that workers have spent on it, over all attempts; waiting and pauses are not in it.
    Column("worked_seconds", Float, nullable=False, default=0.0),
    Column("worker", String(255)),
    #: Who claimed it is taken for dead after this.
    Column("lease_expires_at", UtcDateTime),
    Column("cancel_requested", Boolean, nullable=False, default=False),
    Column("pause_requested", Boolean, nullable=False, default=False),
    #: Where the next attempt goes on; NULL for from the beginning.
    Column("checkpoint", JsonOf(StoredCheckpoint)),
    #: ``number`` of the last row of ``history`` that the checkpoint stands behind.
    Column("checkpoint_history", Integer, nullable=False, default=0),
    #: When a worker was last told of it; NULL when nobody was since it was queued.
    Column("rung_at", UtcDateTime),
    #: When the job goes by itself; NULL for never, and before it has finished.
    Column("expires_at", UtcDateTime, index=True),
    #: Which workers take it.
    Column("lane", _word(Lane), nullable=False, default=Lane.SMALL),
    #: Of the tenant's jobs that wait, the lowest goes first: minus the priority in the spec.
    Column("rank", Integer, nullable=False, default=0),
    #: When it came to its status and stage; NULL where an older version wrote the row.
    Column("since", UtcDateTime),
    #: The request that submitted it, by W3C Trace Context; NULL where nothing is traced.
    Column("traceparent", String(55)),
    Index(None, "status", "lane", "tenant", "rank", "created_at", "id"),
    Index(None, "tenant", "created_at", "id"),
    Index(None, "tenant", "status", "created_at", "id"),
)

events = Table(
    "events",
    metadata,
    _of_job(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", _word(EventKind), nullable=False),
    Column("data", JsonOf(dict[str, JsonValue]), nullable=False),
)

history = Table(
    "history",
    metadata,
    _of_job(),
    #: Counted from 1; those that an attempt made after its last checkpoint are deleted with it.
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("scope", _word(Scope), nullable=False),
    Column("columns", JsonOf(Columns), nullable=False),
)

artifacts = Table(
    "artifacts",
    metadata,
    _of_job(),
    Column("name", String(255), primary_key=True),
    Column("key", String(255), nullable=False),
    Column("format", String(32), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    #: Of its compressed forms, all together.
    Column("compressed_bytes", BigInteger, nullable=False),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    _tenant(primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("job_id", _id(), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", _id(), primary_key=True),
    _tenant(),
    #: Of the whole key, in hexadecimal; the key itself is nowhere.
    Column("sha256", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
)

#: Rows are only ever added: the migration has triggers that refuse anything else.
audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    _tenant(),
    Column("key_id", _id()),
    Column("action", String(32), nullable=False),
    Column("subject", _id(), nullable=False, index=True),
)

#: What webhooks are told, and what became of it.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", _id(), primary_key=True),
    _tenant(),
    Column("job_id", _id(), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("url", String(2048), nullable=False),
    Column("type", String(32), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("status", _word(DeliveryStatus), nullable=False),
    Column("attempts", JsonOf(tuple[Attempt, ...]), nullable=False),
    #: NULL when there is nothing more to try.
    Column("next_attempt_at", UtcDateTime, index=True),
)

#: What a tenant's messages are signed with. It has to be known to sign, so it stands here itself.
webhook_secrets = Table(
    "webhook_secrets",
    metadata,
    _tenant(primary_key=True),
    Column("secret", String(96), nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("name", String(255), primary_key=True),
    #: It is taken for gone after this.
    Column("expires_at", UtcDateTime, nullable=False),
    #: Of its runners.
    Column("confinement", JsonOf(Confinement), nullable=False),
    Column("devices", JsonOf(tuple[Device, ...]), nullable=False, default=()),
)

#: When tenants were served last, as numbers that rise; one without a row never was.
turns = Table(
    "turns",
    metadata,
    _tenant(primary_key=True),
    Column("turn", Integer, nullable=False),
)

#: See ``app.jobs.tallies``.
tallies = Table(
    "tallies",
    metadata,
    Column("tally", String(32), primary_key=True),
    Column("label", String(32), primary_key=True),
    Column("bucket", Integer, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
    Column("total", Float, nullable=False),
)
