"""Uploaded files, as rows: the models, and the datasets."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    Column,
    Connection,
    Select,
    Table,
    delete,
    exists,
    insert,
    select,
    update,
)

from app.jobs import tables
from app.jobs.errors import DatasetNotFoundError, InUseError, ModelNotFoundError, NotFoundError
from app.jobs.job import JobStatus
from app.jobs.tables import jobs
from app.jobs.tallies import Tally, count
from app.jobs.tenants import Whose
from app.jobs.uploads import StoredDataset, StoredModel

_Stored = TypeVar("_Stored", StoredModel, StoredDataset)

_UNFINISHED = [status for status in JobStatus if not status.is_final]


class Shelf(Generic[_Stored]):
    """The models, or the datasets.

    Args:
        noun: What one of them is called in an error.
        table: Where they are kept.
        used_as: The column of ``jobs`` that names the one that a job works on.
        record: The record of one.
        missing: Raised when there is no such thing.
    """

    def __init__(
        self,
        noun: str,
        table: Table,
        used_as: Column[str],
        *,
        record: type[_Stored],
        missing: type[NotFoundError],
    ) -> None:
        self._noun = noun
        self._table = table
        self._used_as = used_as
        self._record = record
        self._missing = missing

    def add(self, connection: Connection, stored: _Stored, *, tenant: str) -> None:
        """Keep ``stored``, whose file is in the artifact store already."""
        fields = {name: getattr(stored, name) for name in self._record.model_fields}
        row = insert(self._table).values(
            id=stored.ref.id, tenant=tenant, bytes=stored.ref.bytes, **fields
        )
        connection.execute(row)
        count(connection, Tally.RECEIVED, self._noun, amount=stored.ref.bytes)

    def get(self, connection: Connection, id_: str, whose: Whose) -> _Stored:
        """Return one, or raise what was given as ``missing``."""
        return self._only(connection, self._by_id(id_, whose), id_)

    def hold(self, connection: Connection, id_: str, whose: Whose) -> _Stored:
        """Return one that nobody can delete until the transaction ends."""
        return self._only(connection, self._by_id(id_, whose).with_for_update(), id_)

    def delete(self, connection: Connection, id_: str, whose: Whose) -> str:
        """Forget one and return the key of its file.

        Raises:
            InUseError: an unfinished job needs it.
        """
        stored = self.hold(connection, id_, whose)
        in_use = exists().where(self._used_as == id_, jobs.c.status.in_(_UNFINISHED))
        if connection.scalar(select(in_use)):
            message = f"the {self._noun} {id_} is needed by a job that has not finished"
            raise InUseError(message)
        connection.execute(delete(self._table).where(self._table.c.id == id_))
        return stored.key

    def go_with(self, connection: Connection, id_: str, *, job_id: str) -> None:
        """Have one go when the job goes, unless it goes with another job already."""
        unbound = self._table.c.id == id_, self._table.c.uploaded_with.is_(None)
        connection.execute(update(self._table).where(*unbound).values(uploaded_with=job_id))

    def leave_with(self, connection: Connection, job_id: str) -> list[str]:
        """Forget what came with a deleted job and return the keys of the files.

        What another job names stays, and goes with that job from now on.
        """
        heir = (
            select(jobs.c.id)
            .where(self._used_as == self._table.c.id)
            .order_by(jobs.c.id.desc())
            .limit(1)
            .correlate(self._table)
            .scalar_subquery()
        )
        came_with = self._table.c.uploaded_with == job_id
        # A job that is being submitted holds its rows: whether it names one is seen afterwards.
        connection.execute(select(self._table.c.id).where(came_with).with_for_update())
        orphans = delete(self._table).where(came_with, heir.is_(None)).returning(self._table.c.key)
        keys = list(connection.scalars(orphans))
        connection.execute(update(self._table).where(came_with).values(uploaded_with=heir))
        return keys

    def take_unused(
        self, connection: Connection, *, before: datetime
    ) -> list[tuple[str, str, str]]:
        """Forget those made ``before`` that no job names; return id, tenant and key of each."""
        table = self._table
        unused = table.c.created_at < before, ~exists().where(self._used_as == table.c.id)
        # One that a job is being submitted for is held, and not unused.
        held = select(table.c.id).where(*unused).with_for_update(skip_locked=True)
        ours = table.c.id.in_(list(connection.scalars(held)))
        taken = delete(table).where(ours, *unused)
        taken = taken.returning(table.c.id, table.c.tenant, table.c.key)
        return [(row[0], row[1], row[2]) for row in connection.execute(taken)]

    def _by_id(self, id_: str, whose: Whose) -> Select[Any]:
        columns = (self._table.c[name] for name in self._record.model_fields)
        return select(*columns).where(self._table.c.id == id_, whose(self._table))

    def _only(self, connection: Connection, query: Select[Any], id_: str) -> _Stored:
        row = connection.execute(query).mappings().one_or_none()
        if row is None:
            message = f"there is no {self._noun} {id_!r:.80}"
            raise self._missing(message)
        return self._record.model_validate(row)


MODELS = Shelf(
    "model", tables.models, jobs.c.model_id, record=StoredModel, missing=ModelNotFoundError
)
DATASETS = Shelf(
    "dataset",
    tables.datasets,
    jobs.c.dataset_id,
    record=StoredDataset,
    missing=DatasetNotFoundError,
)
