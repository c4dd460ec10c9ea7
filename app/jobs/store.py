"""The store: the one truth about every job, model and dataset."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, RowMapping, delete, insert, or_, select, tuple_, update

from app.jobs import tables
from app.jobs.artifacts import StoredArtifact, job_prefix
from app.jobs.claims import (
    WORKER_SILENT,
    Claim,
    cancel,
    extend,
    fail,
    given_up,
    held_row,
    is_claimable,
    queue_again,
    take,
)
from app.jobs.database import database_time, reading, writing
from app.jobs.errors import (
    ArtifactNotFoundError,
    BackendUnavailableError,
    DatasetNotFoundError,
    JobConflictError,
    ModelNotFoundError,
)
from app.jobs.events import Event
from app.jobs.history import History, HistoryChunk
from app.jobs.job import Failure, Job, JobStatus, Notice, Progress, Stage
from app.jobs.pages import Cursor, Page
from app.jobs.result import JobResult
from app.jobs.rows import (
    append_history,
    insert_job,
    job_from,
    lock_row,
    read_history,
    read_row,
    require_job,
    update_job,
)
from app.jobs.shelf import Shelf
from app.jobs.submissions import Idempotency, Submitted, insert_once
from app.jobs.uploads import StoredDataset, StoredModel


class Store:
    """Jobs, models and datasets in an SQL database; safe to share between threads.

    Every method is one transaction, and raises BackendUnavailableError when the database cannot
    be reached. A claimed job is written to with the claim in hand: LostClaimError says that the
    job belongs to somebody else by now, or is final, and that nothing was written.

    Args:
        engine: From ``app.jobs.database.create_engine``, brought up to date by ``migrate``.
        max_attempts: How often a job is tried when its runner dies.
        clock: What time it is for leases and records; the workers' own clocks may differ.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        max_attempts: int = 3,
        clock: Callable[[Connection], datetime] = database_time,
    ) -> None:
        self._engine = engine
        self._max_attempts = max_attempts
        self._clock = clock
        self._models = Shelf(
            "model",
            tables.models,
            tables.jobs.c.model_id,
            record=StoredModel,
            missing=ModelNotFoundError,
        )
        self._datasets = Shelf(
            "dataset",
            tables.datasets,
            tables.jobs.c.dataset_id,
            record=StoredDataset,
            missing=DatasetNotFoundError,
        )

    def is_reachable(self) -> bool:
        """Whether the database answers now and has its tables."""
        try:
            with reading(self._engine) as connection:
                connection.execute(select(tables.jobs.c.id).limit(1))
        except BackendUnavailableError:
            return False
        return True

    # Models and datasets

    def add_model(self, model: StoredModel) -> None:
        """Keep a model whose file is in the artifact store already."""
        with writing(self._engine) as connection:
            self._models.add(connection, model)

    def model(self, model_id: str) -> StoredModel:
        """Return a model, or raise ModelNotFoundError."""
        with reading(self._engine) as connection:
            return self._models.get(connection, model_id)

    def delete_model(self, model_id: str) -> str:
        """Forget a model and return the key of its file, for the caller to remove.

        Raises:
            ModelNotFoundError: there is no such model.
            InUseError: an unfinished job needs it.
        """
        with writing(self._engine) as connection:
            return self._models.delete(connection, model_id)

    def add_dataset(self, dataset: StoredDataset) -> None:
        """Keep a dataset whose file is in the artifact store already."""
        with writing(self._engine) as connection:
            self._datasets.add(connection, dataset)

    def dataset(self, dataset_id: str) -> StoredDataset:
        """Return a dataset, or raise DatasetNotFoundError."""
        with reading(self._engine) as connection:
            return self._datasets.get(connection, dataset_id)

    def delete_dataset(self, dataset_id: str) -> str:
        """Forget a dataset and return the key of its file, for the caller to remove.

        Raises:
            DatasetNotFoundError: there is no such dataset.
            InUseError: an unfinished job needs it.
        """
        with writing(self._engine) as connection:
            return self._datasets.delete(connection, dataset_id)

    # What callers do with jobs

    def submit(self, job: Job, *, idempotency: Idempotency | None = None) -> Submitted:
        """Accept a job, or return the one that the same request made before.

        Args:
            job: Queued, and new.
            idempotency: Of the request; ``None`` makes a new job each time. Deleting the job
                frees the key.

        Raises:
            ModelNotFoundError: its model is gone.
            DatasetNotFoundError: its dataset is gone.
            IdempotencyConflictError: the key was used for another request.
        """
        with self._writing() as (connection, now):
            self._models.hold(connection, job.model.id)
            if job.dataset is not None:
                self._datasets.hold(connection, job.dataset.id)
            if idempotency is not None:
                return insert_once(connection, job, idempotency, at=now)
            insert_job(connection, job, at=now)
            return Submitted(job, replayed=False)

    def job(self, job_id: str) -> Job:
        """Return a job, or raise JobNotFoundError."""
        with reading(self._engine) as connection:
            return job_from(read_row(connection, job_id))

    def jobs(
        self, *, limit: int, after: str | None = None, status: JobStatus | None = None
    ) -> Page:
        """Return jobs, newest first.

        Args:
            limit: How many at most; 1 or more.
            after: ``next_cursor`` of the page before; ``None`` for the first page.
            status: Only these; ``None`` for all.

        Raises:
            InvalidCursorError: ``after`` is no cursor.
        """
        place = (tables.jobs.c.created_at, tables.jobs.c.id)
        query = select(tables.jobs).order_by(*(column.desc() for column in place))
        if status is not None:
            query = query.where(tables.jobs.c.status == status)
        if after is not None:
            cursor = Cursor.decoded(after)
            query = query.where(tuple_(*place) < tuple_(cursor.created_at, cursor.job_id))
        with reading(self._engine) as connection:
            rows = connection.execute(query.limit(limit + 1)).mappings().all()
        page = tuple(job_from(row) for row in rows[:limit])
        more = len(rows) > limit
        return Page(page, next_cursor=Cursor.after(page[-1]).encoded() if more else None)

    def request_cancel(self, job_id: str) -> Job:
        """Cancel a job: at once when no living worker holds it, else as soon as that worker sees.

        Raises:
            JobNotFoundError: there is no such job.
            JobConflictError: it is final.
        """
        with self._writing() as (connection, now):
            row = lock_row(connection, job_id)
            job = job_from(row)
            cancelled = job.moved_to(JobStatus.CANCELLED, at=now)
            if job.status is JobStatus.RUNNING and row["lease_expires_at"] >= now:
                return update_job(connection, job, job, at=now, cancel_requested=True)
            return update_job(connection, job, cancelled, at=now, cancel_requested=True)

    def delete_job(self, job_id: str) -> list[str]:
        """Forget a finished job, and the model and dataset that came with it.

        A model or dataset that another job names as well stays until that job goes.

        Returns:
            What the caller removes with ``ArtifactStore.delete_below``.

        Raises:
            JobNotFoundError: there is no such job.
            JobConflictError: it is not final.
        """
        with self._writing() as (connection, _):
            job = job_from(lock_row(connection, job_id))
            if not job.status.is_final:
                message = f"a {job.status} job cannot be deleted; cancel it first"
                raise JobConflictError(message)
            connection.execute(delete(tables.jobs).where(tables.jobs.c.id == job_id))
            return [
                job_prefix(job_id),
                *self._models.leave_with(connection, job_id),
                *self._datasets.leave_with(connection, job_id),
            ]

    def events(self, job_id: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """Return a job's events from number ``after + 1`` on, in order; at most ``limit``.

        Raises:
            JobNotFoundError: there is no such job.
        """
        columns = (tables.events.c[name] for name in Event.model_fields)
        query = (
            select(*columns)
            .where(tables.events.c.job_id == job_id, tables.events.c.number > after)
            .order_by(tables.events.c.number)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            require_job(connection, job_id)
            return [Event.model_validate(row) for row in connection.execute(query).mappings()]

    def history(self, job_id: str) -> History:
        """Return the figures of a job's training so far.

        Raises:
            JobNotFoundError: there is no such job.
        """
        with reading(self._engine) as connection:
            require_job(connection, job_id)
            return read_history(connection, job_id)

    def artifacts(self, job_id: str) -> list[StoredArtifact]:
        """Return a job's files by name; none before it succeeded.

        Raises:
            JobNotFoundError: there is no such job.
        """
        columns = (tables.artifacts.c[name] for name in StoredArtifact.model_fields)
        query = (
            select(*columns)
            .where(tables.artifacts.c.job_id == job_id)
            .order_by(tables.artifacts.c.name)
        )
        with reading(self._engine) as connection:
            require_job(connection, job_id)
            rows = connection.execute(query).mappings()
            return [StoredArtifact.model_validate(row) for row in rows]

    def artifact(self, job_id: str, name: str) -> StoredArtifact:
        """Return one file of a job.

        Raises:
            JobNotFoundError: there is no such job.
            ArtifactNotFoundError: it has no file of this name, or none yet.
        """
        for artifact in self.artifacts(job_id):
            if artifact.name == name:
                return artifact
        message = f"the job {job_id} has no artifact {name!r:.80}"
        raise ArtifactNotFoundError(message)

    # What workers do with jobs

    def due(self, *, unrung_for: timedelta) -> list[str]:
        """Return the jobs that a worker should be told of, oldest first.

        These wait in the queue, or their worker has let its lease run out; and nobody was told
        of them for ``unrung_for``.
        """
        with reading(self._engine) as connection:
            now = self._clock(connection)
            query = (
                select(tables.jobs.c.id)
                .where(
                    is_claimable(now),
                    or_(tables.jobs.c.rung_at.is_(None), tables.jobs.c.rung_at < now - unrung_for),
                )
                .order_by(tables.jobs.c.created_at, tables.jobs.c.id)
            )
            return list(connection.scalars(query))

    def rang(self, job_id: str) -> None:
        """Remember that a worker has just been told of the job."""
        with self._writing() as (connection, now):
            connection.execute(
                update(tables.jobs).where(tables.jobs.c.id == job_id).values(rung_at=now)
            )

    def claim(self, job_id: str, *, worker: str, lease: timedelta) -> Claim | None:
        """Take a job that is queued, or whose worker has let its lease run out.

        A new attempt begins: progress and history of the former one are dropped. A job whose
        cancelling was asked for becomes cancelled instead, and one that has used up its attempts
        fails.

        Args:
            job_id: Which; it may be gone.
            worker: Name of the claiming worker, for the operator.
            lease: How long the claim holds without a heartbeat.

        Returns:
            The claim, or ``None`` when there is nothing to do.
        """
        with self._writing() as (connection, now):
            row = take(connection, job_id, worker=worker, lease=lease, now=now)
            if row is None:
                return None
            job = job_from(row)
            if job.status is JobStatus.RUNNING:
                spent = row["attempts"] - 1
                job = self._end_attempt(connection, row, WORKER_SILENT, spent=spent, at=now)
            if job.status is not JobStatus.QUEUED:
                return None
            running = update_job(connection, job, job.moved_to(JobStatus.RUNNING, at=now), at=now)
            return Claim(job=running, fence=row["fence"], attempt=row["attempts"])

    def heartbeat(self, claim: Claim, *, lease: timedelta) -> bool:
        """Hold the job for ``lease`` from now on; return whether its cancelling was asked for.

        Raises:
            LostClaimError: stop the work.
        """
        with self._writing() as (connection, now):
            return extend(connection, claim, lease=lease, now=now)

    def record(
        self,
        claim: Claim,
        *,
        stage: Stage | None = None,
        progress: Progress | None = None,
        notices: Iterable[Notice] = (),
        history: Iterable[HistoryChunk] = (),
    ) -> None:
        """Write down how the work goes on.

        Args:
            claim: The right to.
            stage: What begins now; ``None`` for no change.
            progress: How far it is; ``None`` for no change.
            notices: What the caller should know; what the job says already is not repeated.
            history: Further rows of it.

        Raises:
            LostClaimError: stop the work.
        """
        with self._held(claim) as (connection, now, row):
            job = job_from(row)
            after = job.warned(*notices).model_copy(
                update={
                    "stage": job.stage if stage is None else stage,
                    "progress": job.progress if progress is None else progress,
                }
            )
            update_job(connection, job, after, at=now)
            for chunk in history:
                append_history(connection, job.id, chunk, at=now)

    def succeed(self, claim: Claim, result: JobResult, artifacts: Iterable[StoredArtifact]) -> Job:
        """Publish the result; the files are in the artifact store already.

        Raises:
            LostClaimError: the result belongs to nobody; remove the files.
        """
        with self._held(claim) as (connection, now, row):
            job = job_from(row)
            succeeded = job.moved_to(JobStatus.SUCCEEDED, at=now)
            files = [{"job_id": job.id, **artifact.model_dump()} for artifact in artifacts]
            if files:
                connection.execute(insert(tables.artifacts), files)
            after = succeeded.model_copy(update={"stage": None, "result": result})
            return update_job(connection, job, after, at=now)

    def fail(self, claim: Claim, failure: Failure) -> Job:
        """End the job, because trying again would fail again.

        Raises:
            LostClaimError: stop the work.
        """
        with self._held(claim) as (connection, now, row):
            return fail(connection, job_from(row), failure, at=now)

    def cancelled(self, claim: Claim) -> Job:
        """End the job as its caller asked.

        Raises:
            LostClaimError: stop the work.
        """
        with self._held(claim) as (connection, now, row):
            return cancel(connection, job_from(row), at=now)

    def hand_back(self, claim: Claim, reason: str) -> Job:
        """Give up an attempt whose runner died.

        Args:
            claim: The right to.
            reason: What happened, a sentence that the caller may read.

        Returns:
            The job: queued again; or failed, when that was its last attempt; or cancelled, when
            that was asked for meanwhile.

        Raises:
            LostClaimError: somebody else has taken it already.
        """
        with self._held(claim) as (connection, now, row):
            return self._end_attempt(connection, row, reason, spent=row["attempts"], at=now)

    def release(self, claim: Claim) -> Job:
        """Give up an attempt because the worker stops; it does not count as one.

        Returns:
            The job: queued again; or cancelled, when that was asked for meanwhile.

        Raises:
            LostClaimError: somebody else has taken it already.
        """
        with self._held(claim) as (connection, now, row):
            job = job_from(row)
            if row["cancel_requested"]:
                return cancel(connection, job, at=now)
            return queue_again(connection, job, at=now, attempts=row["attempts"] - 1)

    @contextmanager
    def _writing(self) -> Generator[tuple[Connection, datetime]]:
        with writing(self._engine) as connection:
            yield connection, self._clock(connection)

    @contextmanager
    def _held(self, claim: Claim) -> Generator[tuple[Connection, datetime, RowMapping]]:
        with self._writing() as (connection, now):
            yield connection, now, held_row(connection, claim)

    def _end_attempt(
        self, connection: Connection, row: RowMapping, reason: str, *, spent: int, at: datetime
    ) -> Job:
        """End an attempt that nobody finished; ``spent`` counts it and those before."""
        job = job_from(row)
        if row["cancel_requested"]:
            return cancel(connection, job, at=at)
        if spent >= self._max_attempts:
            return fail(connection, job, given_up(reason, spent), at=at)
        notice = Notice(code="tried_again", message=f"{reason} The job was started again.")
        return queue_again(connection, job, notice, at=at)
