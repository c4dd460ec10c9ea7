"""From an order to an accepted job: files checked, job planned, all of it stored or nothing."""

from __future__ import annotations

import hashlib
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from app.api.errors import RefusedDatasetError
from app.api.forms import ReceivedFile
from app.api.orders import Order, StoredOrder, UploadOrder
from app.api.services import Services
from app.jobs.errors import (
    BackendUnavailableError,
    FieldError,
    RefusedFileError,
    RefusedSpecError,
)
from app.jobs.ids import new_id
from app.jobs.job import FileRef, Job
from app.jobs.lanes import lane_of
from app.jobs.plan import Plan, plan
from app.jobs.receivers import leads_inside
from app.jobs.spec import JobSpec
from app.jobs.submissions import Idempotency, Submitted
from app.jobs.uploads import StoredDataset, StoredModel, Upload
from app.telemetry.logs import concerning
from app.telemetry.tracing import traceparent

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Checked:
    """An order whose files have been looked at, and what will be done with them."""

    model: StoredModel
    dataset: StoredDataset | None
    spec: JobSpec  #: As it was asked for.
    plan: Plan
    going_with_job: tuple[Upload, ...]  #: Stored files that are kept no longer than the job.


def preflight(services: Services, order: Order) -> Plan:
    """Say what a job would do, without storing anything.

    Raises:
        RefusedFileError: the model cannot be taken.
        RefusedDatasetError: the data cannot be taken.
        RefusedSpecError: the spec cannot be carried out on this model and this data.
    """
    return _check(services, order, job_id=new_id("job")).plan


def submit(services: Services, order: Order, *, idempotency_key: str | None) -> Job:
    """Accept ``order``, or store nothing.

    Returns:
        The new job; the first one when ``idempotency_key`` comes with the same order again.

    Raises:
        RefusedFileError: the model cannot be taken.
        RefusedDatasetError: the data cannot be taken.
        RefusedSpecError: the spec cannot be carried out on this model and this data.
        IdempotencyConflictError: the key was used for another order.
    """
    job_id = new_id("job")
    checked = _check(services, order, job_id=job_id)
    with ExitStack() as undo:
        if isinstance(order, UploadOrder):
            keep_model(services, checked.model, order.model.path, undo=undo)
            if checked.dataset is not None and order.data is not None:
                keep_dataset(services, checked.dataset, order.data.path, undo=undo)
        submitted = _store_job(services, job_id, checked, idempotency_key=idempotency_key)
        if not submitted.replayed:
            undo.pop_all()
    if not submitted.replayed:
        with concerning(job_id):
            logger.info("job %s is accepted", job_id)
            ring(services, submitted.job)
    return submitted.job


def ring(services: Services, job: Job) -> None:
    """Tell a worker of a job that waits, if one can be told."""
    try:
        services.doorbell.ring(job.id, lane_of(job, large_from=services.large_job_bytes))
        services.store.rang(job.id)
    except BackendUnavailableError as error:
        # The row is the truth: whoever looks for queued rows will ring for this one again.
        logger.warning("job %s is queued, but no worker could be woken: %s", job.id, error)


def describe_model(
    services: Services,
    received: ReceivedFile,
    *,
    file_id: str | None = None,
    uploaded_with: str | None = None,
) -> StoredModel:
    """Check a model and say what is in it; nothing is stored yet.

    Args:
        services: Has the check.
        received: The file.
        file_id: What it is called from now on; left out: by a new id.
        uploaded_with: Id of the job that it goes with; ``None`` for none.

    Raises:
        RefusedFileError: it cannot be taken.
    """
    summary = services.checks.model(received.path)
    ref = _ref(new_id("mdl") if file_id is None else file_id, received)
    return StoredModel(
        ref=ref,
        key=f"models/{ref.id}/model.{summary.format}",
        created_at=datetime.now(UTC),
        summary=summary,
        uploaded_with=uploaded_with,
    )


def describe_dataset(
    services: Services,
    received: ReceivedFile,
    *,
    file_id: str | None = None,
    uploaded_with: str | None = None,
) -> StoredDataset:
    """Check a dataset and say what is in it; nothing is stored yet.

    Args:
        services: Has the check.
        received: The file.
        file_id: What it is called from now on; left out: by a new id.
        uploaded_with: Id of the job that it goes with; ``None`` for none.

    Raises:
        RefusedDatasetError: it cannot be taken.
    """
    try:
        summary = services.checks.dataset(received.path)
    except RefusedFileError as error:
        raise RefusedDatasetError(error) from error
    ref = _ref(new_id("dat") if file_id is None else file_id, received)
    return StoredDataset(
        ref=ref,
        key=f"datasets/{ref.id}/data.{summary.suffix}",
        created_at=datetime.now(UTC),
        summary=summary,
        uploaded_with=uploaded_with,
    )


def keep_model(services: Services, model: StoredModel, path: Path, *, undo: ExitStack) -> None:
    """Store a described model: the file first, so that no row is without one."""
    undo.callback(services.files.delete, model.key)
    services.files.put(model.key, path)
    services.store.add_model(model)
    undo.callback(services.store.delete_model, model.ref.id)


def keep_dataset(
    services: Services, dataset: StoredDataset, path: Path, *, undo: ExitStack
) -> None:
    """Store a described dataset: the file first, so that no row is without one."""
    undo.callback(services.files.delete, dataset.key)
    services.files.put(dataset.key, path)
    services.store.add_dataset(dataset)
    undo.callback(services.store.delete_dataset, dataset.ref.id)


def _check(services: Services, order: Order, *, job_id: str) -> _Checked:
    _require_receiver_outside(services, order.spec)
    match order:
        case UploadOrder():
            model, dataset = _describe_upload(services, order, job_id=job_id)
            going_with_job = ()
        case StoredOrder(model_id=model_id, dataset_id=dataset_id, going_with_job=going_with_job):
            model = services.store.model(model_id)
            dataset = None if dataset_id is None else services.store.dataset(dataset_id)
    spec = order.spec.kept_at_most(services.retention_seconds)
    planned = plan(spec, model.summary, None if dataset is None else dataset.summary)
    return _Checked(model, dataset, order.spec, planned, going_with_job)


def _require_receiver_outside(services: Services, spec: JobSpec) -> None:
    webhook = spec.webhook
    if webhook is None or services.allow_private_webhooks or not leads_inside(webhook.url):
        return
    message = f"url must lead to a public address. Received: {webhook.url}"
    raise RefusedSpecError(FieldError("/webhook/url", message))


def _describe_upload(
    services: Services, order: UploadOrder, *, job_id: str
) -> tuple[StoredModel, StoredDataset | None]:
    if order.data is None:
        return describe_model(services, order.model, uploaded_with=job_id), None
    # Each check is a process of its own: side by side they take the time of one.
    with ThreadPoolExecutor(max_workers=1) as beside:
        dataset = beside.submit(describe_dataset, services, order.data, uploaded_with=job_id)
        model = describe_model(services, order.model, uploaded_with=job_id)
        return model, dataset.result()


def _store_job(
    services: Services, job_id: str, checked: _Checked, *, idempotency_key: str | None
) -> Submitted:
    job = Job(
        id=job_id,
        created_at=datetime.now(UTC),
        model=checked.model.ref,
        dataset=None if checked.dataset is None else checked.dataset.ref,
        spec=checked.plan.spec,
        warnings=checked.plan.warnings,
    )
    idempotency = (
        None
        if idempotency_key is None
        else Idempotency(key=idempotency_key, fingerprint=_fingerprint(checked))
    )
    return services.store.submit(
        job,
        idempotency=idempotency,
        going_with_it=checked.going_with_job,
        lane=lane_of(job, large_from=services.large_job_bytes),
        traceparent=traceparent(),
    )


def _fingerprint(checked: _Checked) -> str:
    """Digest of what makes two orders the same: the files' contents and what is asked of them."""
    order = {
        "model": checked.model.ref.sha256,
        "dataset": None if checked.dataset is None else checked.dataset.ref.sha256,
        "spec": checked.spec.model_dump(mode="json"),
    }
    return hashlib.sha256(json.dumps(order, sort_keys=True).encode()).hexdigest()


def _ref(file_id: str, received: ReceivedFile) -> FileRef:
    return FileRef(
        id=file_id, filename=received.filename, bytes=received.bytes, sha256=received.sha256
    )
