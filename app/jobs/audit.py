"""The audit: who changed what, and when. Rows are only ever added; the database holds to that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, Engine, insert, select

from app.jobs import tables
from app.jobs.database import reading
from app.jobs.tenants import Caller


class Action(StrEnum):
    """What was done; the ``subject`` of the row is the id of what it was done to."""

    MODEL_ADDED = "model_added"
    MODEL_DELETED = "model_deleted"
    DATASET_ADDED = "dataset_added"
    DATASET_DELETED = "dataset_deleted"
    UPLOAD_BEGUN = "upload_begun"  #: It becomes the model or dataset of the same id.
    UPLOAD_DELETED = "upload_deleted"  #: By its sender, or because it was refused.
    UPLOAD_EXPIRED = "upload_expired"
    JOB_SUBMITTED = "job_submitted"
    JOB_CANCEL_REQUESTED = "job_cancel_requested"
    JOB_PAUSE_REQUESTED = "job_pause_requested"
    JOB_RESUMED = "job_resumed"
    JOB_DELETED = "job_deleted"  #: With the model and dataset that came with it.
    JOB_EXPIRED = "job_expired"  #: Likewise, because its time was over.
    MODEL_EXPIRED = "model_expired"
    DATASET_EXPIRED = "dataset_expired"
    DAMAGE_FOUND = "damage_found"  #: A file of it is not what was stored; found by who read it.
    KEY_CREATED = "key_created"
    KEY_REVOKED = "key_revoked"


def note(
    connection: Connection, caller: Caller, action: Action, subject: str, *, at: datetime
) -> None:
    """Write down that ``caller`` did ``action``, in the transaction that does it."""
    row = insert(tables.audit).values(
        at=at, tenant=caller.tenant, key_id=caller.key_id, action=action.value, subject=subject
    )
    connection.execute(row)


@dataclass(frozen=True)
class AuditRow:
    """One thing that was done."""

    #: Rises with every row. In SQLite none is ever missing but by damage; PostgreSQL also leaves
    #: out those of transactions that were undone.
    number: int
    at: datetime
    tenant: str
    key_id: str | None  #: ``None`` where nobody was asked for a key, or the service did it itself.
    action: str
    subject: str


def latest(engine: Engine, *, count: int) -> list[AuditRow]:
    """Return the last ``count`` rows, the oldest of them first.

    Raises:
        BackendUnavailableError: the database cannot be reached.
    """
    query = select(tables.audit).order_by(tables.audit.c.number.desc()).limit(count)
    with reading(engine) as connection:
        rows = [AuditRow(**row) for row in connection.execute(query).mappings()]
    return rows[::-1]
