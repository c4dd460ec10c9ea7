"""The store: the one truth about every job, model and dataset, as workers see it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, RowMapping, and_, insert, or_, select
from sqlalchemy.exc import ProgrammingError

from app.jobs import audit, tables
from app.jobs.artifacts import StoredArtifact, StoredCheckpoint
from app.jobs.audit import Action
from app.jobs.census import Census, take_census
from app.jobs.claims import (
    WORKER_SILENT,
    Claim,
    Wish,
    cancel,
    extend,
    fail,
    forget_checkpoint,
    given_up,
    held_row,
    is_claimable,
    keep,
    set_down,
    take,
    wish_of,
)
from app.jobs.database import database_time, reading, writing
from app.jobs.errors import BackendUnavailableError
from app.jobs.history import History, HistoryChunk
from app.jobs.job import Failure, Job, JobStatus, Notice, Progress, Stage
from app.jobs.lanes import Lane
from app.jobs.quotas import Quota
from app.jobs.result import JobResult
from app.jobs.retention import (
    forget_expired_jobs,
    forget_stale_uploads,
    forget_unused_uploads,
    without_row,
)
from app.jobs.rows import (
    append_history,
    job_from,
    note_ring,
    read_history,
    read_row,
    update_job,
)
from app.jobs.shelf import DATASETS, MODELS
from app.jobs.tallies import Tally, count
from app.jobs.tenant_store import TenantStore
from app.jobs.tenants import Caller, anybodys
from app.jobs.turns import next_job, note_served
from app.jobs.uploads import StoredDataset, StoredModel


class Store:
    """Jobs, models and datasets of every tenant in an SQL database; safe to share between threads.

    Workers prune for everybody and use it as it is. Who acts for a caller uses ``of``, which has no
    way to another tenant's rows.

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

    def is_reachable(self) -> bool:
        """Whether the database answers now and has its tables."""
        try:
            with reading(self._engine) as connection:
                connection.execute(select(tables.jobs.c.id).limit(1))
        except (BackendUnavailableError, ProgrammingError):
            return False
        return True

    def census(self) -> Census:
        """Return what there is now, and what was counted so far."""
        return take_census(self._engine, clock=self._clock)

    def of(self, caller: Caller, *, quota: Quota | None = None) -> TenantStore:
        """Return what ``caller`` may see and change; ``None`` for no bounds."""
        return TenantStore(self._engine, caller, quota=quota, clock=self._clock)

    def job(self, job_id: str) -> Job:
        """Return a job, or raise JobNotFoundError."""
        with reading(self._engine) as connection:
            return job_from(read_row(connection, job_id, anybodys))

    def model(self, model_id: str) -> StoredModel:
        """Return a model, or raise ModelNotFoundError."""
        with reading(self._engine) as connection:
            return MODELS.get(connection, model_id, anybodys)

    def dataset(self, dataset_id: str) -> StoredDataset:
        """Return a dataset, or raise DatasetNotFoundError."""
        with reading(self._engine) as connection:
            return DATASETS.get(connection, dataset_id, anybodys)

    def history(self, job_id: str) -> History:
        """Return the figures of a job's training so far."""
        with reading(self._engine) as connection:
            return read_history(connection, job_id)

    def due(self, lane: Lane, *, unrung_for: timedelta, most: int) -> list[str]:
        """Return the jobs that a worker should be told of, oldest first; at most ``most``.

        These wait in the queue, and nobody was told of them for ``unrung_for``; or their worker
        has let its lease run out, and nobody was told since, or for as long.
        """
        with reading(self._engine) as connection:
            now = self._clock(connection)
            query = (
                select(tables.jobs.c.id)
                .where(
                    is_claimable(now),
                    tables.jobs.c.lane == lane,
                    or_(
                        tables.jobs.c.rung_at.is_(None),
                        tables.jobs.c.rung_at < now - unrung_for,
                        and_(
                            tables.jobs.c.status == JobStatus.RUNNING,
                            tables.jobs.c.rung_at < tables.jobs.c.lease_expires_at,
                        ),
                    ),
                )
                .order_by(tables.jobs.c.created_at, tables.jobs.c.id)
                .limit(most)
            )
            return list(connection.scalars(query))

    def forget_expired(self, *, uploads_kept: timedelta | None) -> list[str]:
        """Forget jobs and uploads whose time is over, and models and datasets that no job names.

        Args:
            uploads_kept: How long those are kept from when they came; ``None`` for ever.

        Returns:
            What ``ArtifactStore.delete_below`` removes.
        """
        with self._writing() as (connection, now):
            keys = forget_expired_jobs(connection, at=now)
            keys += forget_stale_uploads(connection, at=now)
            if uploads_kept is not None:
                keys += forget_unused_uploads(connection, before=now - uploads_kept, at=now)
            return keys

    def without_row(self, keys: Iterable[str]) -> list[str]:
        """Return those of the stored files that no row names; see ``app.jobs.retention``."""
        listed = list(keys)
        with reading(self._engine) as connection:
            return without_row(connection, listed)

    def rang(self, job_id: str) -> None:
        """Remember that a worker has just been told of the job."""
        with self._writing() as (connection, now):
            note_ring(connection, job_id, at=now)

    def claim_next(self, lanes: Collection[Lane], *, worker: str, lease: timedelta) -> Claim | None:
        """Take the job whose turn it is, see ``claim``.

        Args:
            lanes: Of the job.
            worker: Name of the claiming worker, for the operator.
            lease: How long the claim holds without a heartbeat.

        Returns:
            The claim, or ``None`` when no job waits in these lanes.
        """
        while True:
            with self._writing() as (connection, now):
                job_id = next_job(connection, lanes, now=now)
                if job_id is None:
                    return None
                claim = self._claimed(connection, job_id, worker=worker, lease=lease, now=now)
            # None where another worker was faster, or the job had ended otherwise.
            if claim is not None:
                return claim

    def claim(self, job_id: str, *, worker: str, lease: timedelta) -> Claim | None:
        """Take a job that is queued, or whose worker has let its lease run out.

        A new attempt begins, at the last checkpoint: what the former one made after it is dropped.
        A job whose cancelling or pausing was asked for becomes cancelled or paused instead, and
        one that has used up its attempts fails.

        Args:
            job_id: Which; it may be gone.
            worker: Name of the claiming worker, for the operator.
            lease: How long the claim holds without a heartbeat.

        Returns:
            The claim, or ``None`` when there is nothing to do.
        """
        with self._writing() as (connection, now):
            return self._claimed(connection, job_id, worker=worker, lease=lease, now=now)

    def _claimed(
        self, connection: Connection, job_id: str, *, worker: str, lease: timedelta, now: datetime
    ) -> Claim | None:
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
        note_served(connection, row["tenant"])
        return Claim(
            job=running,
            fence=row["fence"],
            attempt=row["attempts"],
            checkpoint=row["checkpoint"],
            worked=timedelta(seconds=row["worked_seconds"]),
            traceparent=row["traceparent"],
        )

    def heartbeat(self, claim: Claim, *, lease: timedelta, worked: timedelta = timedelta()) -> Wish:
        """Hold the job for ``lease`` from now on; return what its caller wants of it.

        Args:
            claim: The right to.
            lease: How long it holds without another heartbeat.
            worked: How long it was worked since the last one, by the worker's own clock.

        Raises:
            LostClaimError: stop the work.
        """
        with self._writing() as (connection, now):
            return extend(connection, claim, lease=lease, worked=worked, now=now)

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

    def reached(
        self, claim: Claim, checkpoint: StoredCheckpoint, *, history: Iterable[HistoryChunk]
    ) -> StoredCheckpoint | None:
        """Write down where another attempt could go on; return the former such place.

        Args:
            claim: The right to.
            checkpoint: Its file is in the artifact store already; that of the former one nobody
                needs any more.
            history: The rows up to there that have not been told.

        Raises:
            LostClaimError: stop the work, and remove the file.
        """
        with self._held(claim) as (connection, now, row):
            job = job_from(row)
            after = job.model_copy(update={"progress": checkpoint.progress})
            update_job(connection, job, after, at=now)
            for chunk in history:
                append_history(connection, job.id, chunk, at=now)
            keep(connection, job.id, checkpoint)
            return row["checkpoint"]

    def begin_anew(self, claim: Claim) -> None:
        """Forget the checkpoint, because its file cannot be used.

        Raises:
            LostClaimError: stop the work.
        """
        with self._held(claim) as (connection, now, row):
            forget_checkpoint(connection, job_from(row), at=now)

    def note_damage(self, claim: Claim, subject: str) -> None:
        """Write down that a file that the job needs is not what was stored.

        Args:
            claim: Of the worker that was to read it.
            subject: Id of the job, or of the model or dataset whose file it is.

        Raises:
            LostClaimError: stop the work.
        """
        with self._held(claim) as (connection, now, row):
            whose = Caller(row["tenant"], key_id=None)
            audit.note(connection, whose, Action.DAMAGE_FOUND, subject, at=now)

    def succeed(
        self, claim: Claim, result: JobResult, artifacts: Collection[StoredArtifact]
    ) -> Job:
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
            update_job(connection, job, after, at=now)
            published = sum(artifact.bytes for artifact in artifacts)
            count(connection, Tally.PUBLISHED, amount=published)
            return after

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
            The job: queued again; or failed, when that was its last attempt; or cancelled or
            paused, when that was asked for meanwhile.

        Raises:
            LostClaimError: somebody else has taken it already.
        """
        with self._held(claim) as (connection, now, row):
            return self._end_attempt(connection, row, reason, spent=row["attempts"], at=now)

    def release(self, claim: Claim) -> Job:
        """Give up an attempt because the caller or the operator wants it; it does not count.

        Returns:
            The job: cancelled or paused, where that was asked for, and else queued again.

        Raises:
            LostClaimError: somebody else has taken it already.
        """
        with self._held(claim) as (connection, now, row):
            return set_down(
                connection, row, wanted=wish_of(row), at=now, attempts=row["attempts"] - 1
            )

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
        count(connection, Tally.INTERRUPTED)
        wanted = wish_of(row)
        if wanted is Wish.GO_ON and spent >= self._max_attempts:
            return fail(connection, job_from(row), given_up(reason, spent), at=at)
        where = (
            "was started again" if row["checkpoint"] is None else "goes on at its last checkpoint"
        )
        notice = Notice(code="tried_again", message=f"{reason} The job {where}.")
        return set_down(connection, row, notice, wanted=wanted, at=at)
