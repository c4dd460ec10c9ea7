"""The store as one tenant sees it: every query carries the tenant, and every change is noted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import Connection, Engine, RowMapping, select, tuple_

from app.jobs import audit, partial_uploads, quotas, tables
from app.jobs.artifacts import StoredArtifact
from app.jobs.audit import Action
from app.jobs.claims import Wish, set_down
from app.jobs.database import reading, writing
from app.jobs.deliveries import delivery_from, secret_of
from app.jobs.delivery import Delivery
from app.jobs.errors import ArtifactNotFoundError, JobConflictError
from app.jobs.events import Event
from app.jobs.history import History
from app.jobs.job import Job, JobStatus
from app.jobs.lanes import Lane
from app.jobs.pages import Cursor, Page
from app.jobs.partial_uploads import PAUSED_FOR, UNTOUCHED_FOR, PartialUpload
from app.jobs.quotas import Quota
from app.jobs.retention import forget_job
from app.jobs.rows import (
    Origin,
    insert_job,
    job_from,
    lock_row,
    note_ring,
    read_history,
    read_row,
    require_job,
    update_job,
)
from app.jobs.shelf import DATASETS, MODELS
from app.jobs.submissions import Idempotency, Submitted, insert_once
from app.jobs.tenants import Caller, belonging_to
from app.jobs.uploads import StoredDataset, StoredModel, Upload


class TenantStore:
    """What one caller may see and change; from ``Store.of``.

    What belongs to another tenant does not exist here. Every method is one transaction, and raises
    BackendUnavailableError when the database cannot be reached.

    Args:
        engine: From ``app.jobs.database.create_engine``, brought up to date by ``migrate``.
        caller: For whom, and whose key is noted beside every change.
        quota: How much the tenant may take; ``None`` for no bounds.
        clock: What time it is for records.
    """

    def __init__(
        self,
        engine: Engine,
        caller: Caller,
        *,
        quota: Quota | None,
        clock: Callable[[Connection], datetime],
    ) -> None:
        self._engine = engine
        self._caller = caller
        self._quota = quota
        self._clock = clock
        self._mine = belonging_to(caller.tenant)

    def require_room(self, *, more_bytes: int, more_jobs: int) -> None:
        """Find out, before an upload is received, whether it could be kept.

        Raises:
            StorageQuotaError: so many more bytes are too many.
            JobQuotaError: so many more unfinished jobs are too many.
        """
        with reading(self._engine) as connection:
            self._require_bytes(connection, more_bytes)
            self._require_jobs(connection, more_jobs)

    # Models and datasets

    def add_model(self, model: StoredModel) -> None:
        """Keep a model whose file is in the artifact store already.

        Raises:
            StorageQuotaError: it is too large for what the tenant has left.
        """
        with self._changing(Action.MODEL_ADDED, model.ref.id) as (connection, _):
            self._hold_quota(connection)
            self._require_bytes(connection, model.ref.bytes)
            MODELS.add(connection, model, tenant=self._caller.tenant)

    def model(self, model_id: str) -> StoredModel:
        """Return a model, or raise ModelNotFoundError."""
        with reading(self._engine) as connection:
            return MODELS.get(connection, model_id, self._mine)

    def delete_model(self, model_id: str) -> str:
        """Forget a model and return the key of its file, for the caller to remove.

        Raises:
            ModelNotFoundError: there is no such model.
            InUseError: an unfinished job needs it.
        """
        with self._changing(Action.MODEL_DELETED, model_id) as (connection, _):
            return MODELS.delete(connection, model_id, self._mine)

    def add_dataset(self, dataset: StoredDataset) -> None:
        """Keep a dataset whose file is in the artifact store already.

        Raises:
            StorageQuotaError: it is too large for what the tenant has left.
        """
        with self._changing(Action.DATASET_ADDED, dataset.ref.id) as (connection, _):
            self._hold_quota(connection)
            self._require_bytes(connection, dataset.ref.bytes)
            DATASETS.add(connection, dataset, tenant=self._caller.tenant)

    def dataset(self, dataset_id: str) -> StoredDataset:
        """Return a dataset, or raise DatasetNotFoundError."""
        with reading(self._engine) as connection:
            return DATASETS.get(connection, dataset_id, self._mine)

    def delete_dataset(self, dataset_id: str) -> str:
        """Forget a dataset and return the key of its file, for the caller to remove.

        Raises:
            DatasetNotFoundError: there is no such dataset.
            InUseError: an unfinished job needs it.
        """
        with self._changing(Action.DATASET_DELETED, dataset_id) as (connection, _):
            return DATASETS.delete(connection, dataset_id, self._mine)

    # Uploads that come in pieces

    def begin_upload(
        self, upload_id: str, kind: Upload, *, filename: str, count: int, metadata: str
    ) -> PartialUpload:
        """Keep room for a file that comes in pieces.

        Args:
            upload_id: That of the model or dataset that it will be.
            kind: Which of the two.
            filename: As the client calls it, made harmless.
            count: Bytes of the whole file; 1 or more.
            metadata: What the client says of it, to be shown again.

        Raises:
            StorageQuotaError: it is too large for what the tenant has left.
        """
        with self._changing(Action.UPLOAD_BEGUN, upload_id) as (connection, now):
            self._hold_quota(connection)
            self._require_bytes(connection, count)
            upload = PartialUpload(
                id=upload_id,
                kind=kind,
                filename=filename,
                bytes=count,
                metadata=metadata,
                expires_at=now + UNTOUCHED_FOR,
            )
            partial_uploads.begin(connection, upload, tenant=self._caller.tenant)
            return upload

    def upload(self, upload_id: str) -> PartialUpload:
        """Return an upload that is not whole, or raise UploadNotFoundError."""
        with reading(self._engine) as connection:
            now = self._clock(connection)
            return partial_uploads.find(connection, upload_id, self._mine, at=now)

    def go_on_with_upload(self, upload_id: str) -> PartialUpload:
        """Return an upload for which a piece comes: it is kept for longer.

        Raises:
            UploadNotFoundError: there is no such upload, or it has expired.
        """
        with self._writing() as (connection, now):
            upload = partial_uploads.hold(connection, upload_id, self._mine, at=now)
            return partial_uploads.wait_until(connection, upload, now + PAUSED_FOR)

    def finish_upload(self, upload_id: str, stored: StoredModel | StoredDataset) -> None:
        """Keep what an upload has become; its file is in the artifact store already.

        Raises:
            UploadNotFoundError: it has been deleted meanwhile.
        """
        tenant = self._caller.tenant
        with self._writing() as (connection, now):
            # Its bytes were counted when it was announced: they are the same.
            upload = partial_uploads.hold(connection, upload_id, self._mine, at=now)
            partial_uploads.forget(connection, upload.id)
            match stored:
                case StoredModel():
                    MODELS.add(connection, stored, tenant=tenant)
                    added = Action.MODEL_ADDED
                case StoredDataset():
                    DATASETS.add(connection, stored, tenant=tenant)
                    added = Action.DATASET_ADDED
            audit.note(connection, self._caller, added, stored.ref.id, at=now)

    def delete_upload(self, upload_id: str) -> str:
        """Forget an upload and return the key of its file, for the caller to remove.

        Raises:
            UploadNotFoundError: there is no such upload, or it is whole.
        """
        with self._changing(Action.UPLOAD_DELETED, upload_id) as (connection, now):
            upload = partial_uploads.hold(connection, upload_id, self._mine, at=now)
            partial_uploads.forget(connection, upload.id)
            return upload.key

    # Jobs

    def submit(
        self,
        job: Job,
        *,
        idempotency: Idempotency | None = None,
        going_with_it: Collection[Upload] = (),
        lane: Lane = Lane.SMALL,
        traceparent: str | None = None,
    ) -> Submitted:
        """Accept a job, or return the one that the same request made before.

        Args:
            job: Queued, and new.
            idempotency: Of the request; ``None`` makes a new job each time. Deleting the job
                frees the key.
            going_with_it: Which of its files go when the job goes, as if they had come with it.
            lane: Which workers take it.
            traceparent: Of the request, by W3C Trace Context; ``None`` where nothing is traced.

        Raises:
            ModelNotFoundError: its model is gone.
            DatasetNotFoundError: its dataset is gone.
            IdempotencyConflictError: the key was used for another request.
            JobQuotaError: the tenant has as many unfinished jobs as it may.
        """
        with self._writing() as (connection, now):
            self._hold_quota(connection)
            MODELS.hold(connection, job.model.id, self._mine)
            if job.dataset is not None:
                DATASETS.hold(connection, job.dataset.id, self._mine)
            origin = Origin(tenant=self._caller.tenant, lane=lane, traceparent=traceparent)
            submitted = _inserted(connection, job, idempotency, origin, at=now)
            if not submitted.replayed:
                self._require_jobs(connection, 0)
                self._bind(connection, job, going_with_it)
                audit.note(connection, self._caller, Action.JOB_SUBMITTED, job.id, at=now)
            return submitted

    def job(self, job_id: str) -> Job:
        """Return a job, or raise JobNotFoundError."""
        with reading(self._engine) as connection:
            return job_from(read_row(connection, job_id, self._mine))

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
        query = select(tables.jobs).where(self._mine(tables.jobs))
        query = query.order_by(*(column.desc() for column in place))
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
        with self._changing(Action.JOB_CANCEL_REQUESTED, job_id) as (connection, now):
            row = lock_row(connection, job_id, self._mine)
            job = job_from(row)
            cancelled = job.moved_to(JobStatus.CANCELLED, at=now)
            if _is_held(row, now):
                return update_job(connection, job, job, at=now, cancel_requested=True)
            return update_job(connection, job, cancelled, at=now, cancel_requested=True)

    def request_pause(self, job_id: str) -> Job:
        """Set a job aside: at once when no living worker holds it, else as soon as that one sees.

        Raises:
            JobNotFoundError: there is no such job.
            JobConflictError: it is paused or final, or its cancelling was asked for.
        """
        with self._changing(Action.JOB_PAUSE_REQUESTED, job_id) as (connection, now):
            row = lock_row(connection, job_id, self._mine)
            job = job_from(row)
            job.moved_to(JobStatus.PAUSED, at=now)
            if row["cancel_requested"]:
                message = "a job whose cancelling was asked for cannot become paused"
                raise JobConflictError(message)
            if _is_held(row, now):
                return update_job(connection, job, job, at=now, pause_requested=True)
            return set_down(connection, row, wanted=Wish.PAUSE, at=now)

    def resume(self, job_id: str) -> Job:
        """Put a paused job back into the queue, or take back that it should be paused.

        Raises:
            JobNotFoundError: there is no such job.
            JobConflictError: it is not paused, and nobody asked for it.
        """
        with self._changing(Action.JOB_RESUMED, job_id) as (connection, now):
            row = lock_row(connection, job_id, self._mine)
            job = job_from(row)
            if job.status is JobStatus.RUNNING and row["pause_requested"]:
                return update_job(connection, job, job, at=now, pause_requested=False)
            if job.status is not JobStatus.PAUSED:
                message = f"a {job.status} job cannot be resumed"
                raise JobConflictError(message)
            return update_job(connection, job, job.moved_to(JobStatus.QUEUED, at=now), at=now)

    def delete_job(self, job_id: str) -> list[str]:
        """Forget a finished job, and the model and dataset that came with it.

        A model or dataset that another job names as well stays until that job goes.

        Returns:
            What the caller removes with ``ArtifactStore.delete_below``.

        Raises:
            JobNotFoundError: there is no such job.
            JobConflictError: it is not final.
        """
        with self._changing(Action.JOB_DELETED, job_id) as (connection, _):
            job = job_from(lock_row(connection, job_id, self._mine))
            if not job.status.is_final:
                message = f"a {job.status} job cannot be deleted; cancel it first"
                raise JobConflictError(message)
            return forget_job(connection, job_id)

    def note_damage(self, job_id: str) -> None:
        """Write down that a file of the job was to be read, and was not what it should be."""
        with self._changing(Action.DAMAGE_FOUND, job_id):
            pass

    def rang(self, job_id: str) -> None:
        """Remember that a worker has just been told of the job."""
        with self._writing() as (connection, now):
            require_job(connection, job_id, self._mine)
            note_ring(connection, job_id, at=now)

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
            require_job(connection, job_id, self._mine)
            return [Event.model_validate(row) for row in connection.execute(query).mappings()]

    def history(self, job_id: str) -> History:
        """Return the figures of a job's training so far.

        Raises:
            JobNotFoundError: there is no such job.
        """
        with reading(self._engine) as connection:
            require_job(connection, job_id, self._mine)
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
            require_job(connection, job_id, self._mine)
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

    def deliveries(self, job_id: str) -> list[Delivery]:
        """Return what the job's webhook was told, or will be.

        Raises:
            JobNotFoundError: there is no such job.
        """
        with reading(self._engine) as connection:
            require_job(connection, job_id, self._mine)
            told = tables.deliveries.c.job_id == job_id
            rows = connection.execute(select(tables.deliveries).where(told)).mappings()
            return [delivery_from(row) for row in rows]

    def webhook_secret(self) -> str:
        """Return what the tenant's webhooks are signed with."""
        with self._writing() as (connection, _):
            return secret_of(connection, self._caller.tenant)

    def _bind(self, connection: Connection, job: Job, uploads: Collection[Upload]) -> None:
        if "model" in uploads:
            MODELS.go_with(connection, job.model.id, job_id=job.id)
        if "dataset" in uploads and job.dataset is not None:
            DATASETS.go_with(connection, job.dataset.id, job_id=job.id)

    def _hold_quota(self, connection: Connection) -> None:
        if self._quota is not None:
            quotas.hold(connection, self._caller.tenant)

    def _require_bytes(self, connection: Connection, count: int) -> None:
        if self._quota is not None:
            self._quota.require_room_for_bytes(connection, self._caller.tenant, count)

    def _require_jobs(self, connection: Connection, count: int) -> None:
        if self._quota is not None:
            self._quota.require_room_for_jobs(connection, self._caller.tenant, count)

    @contextmanager
    def _writing(self) -> Generator[tuple[Connection, datetime]]:
        with writing(self._engine) as connection:
            yield connection, self._clock(connection)

    @contextmanager
    def _changing(self, action: Action, subject: str) -> Generator[tuple[Connection, datetime]]:
        """Do and note it, both or neither."""
        with self._writing() as (connection, now):
            yield connection, now
            audit.note(connection, self._caller, action, subject, at=now)


def _inserted(
    connection: Connection,
    job: Job,
    idempotency: Idempotency | None,
    origin: Origin,
    *,
    at: datetime,
) -> Submitted:
    if idempotency is not None:
        return insert_once(connection, job, idempotency, origin, at=at)
    insert_job(connection, job, origin, at=at)
    return Submitted(job, replayed=False)


def _is_held(row: RowMapping, now: datetime) -> bool:
    return row["status"] is JobStatus.RUNNING and row["lease_expires_at"] >= now
