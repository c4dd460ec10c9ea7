"""``/v1/models`` and ``/v1/datasets``: upload once, prune many times."""

from __future__ import annotations

from contextlib import ExitStack

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from app.api import admission
from app.api.errors import problem_responses
from app.api.examples import file_body
from app.api.forms import FormLimits, ReceivedFile, receive_form
from app.api.orders import required_part
from app.api.room import ROOM_FOR_FILES
from app.api.services import Services, ServicesDep
from app.api.views import DatasetView, ModelView
from app.jobs.uploads import StoredDataset, StoredModel

router = APIRouter(prefix="/v1")

_UPLOAD_PROBLEMS = problem_responses(400, 408, 413, 415, 422, 503)


@router.post(
    "/models",
    status_code=201,
    tags=["models"],
    openapi_extra=file_body("model"),
    responses=_UPLOAD_PROBLEMS,
    dependencies=[ROOM_FOR_FILES],
)
async def upload_model(request: Request, response: Response, services: ServicesDep) -> ModelView:
    """Upload a `.keras` or `.h5` model as the part `model` of a form."""
    limits = FormLimits(files={"model": services.max_model_bytes})
    async with receive_form(request, limits, folder=services.incoming) as files:
        received = required_part(files, "model")
        model = await to_thread.run_sync(_accept_model, services, received)
    response.headers["Location"] = f"/v1/models/{model.ref.id}"
    return ModelView.of(model)


@router.get("/models/{model_id}", tags=["models"], responses=problem_responses(404, 503))
def get_model(model_id: str, services: ServicesDep) -> ModelView:
    """Show a model: its layers, its weights, and which can be pruned or why not."""
    return ModelView.of(services.store.model(model_id))


@router.delete(
    "/models/{model_id}",
    status_code=204,
    tags=["models"],
    responses=problem_responses(404, 409, 503),
)
def delete_model(model_id: str, services: ServicesDep) -> None:
    """Remove a model. Finished jobs keep their results; an unfinished one keeps the model."""
    services.files.delete(services.store.delete_model(model_id))


@router.post(
    "/datasets",
    status_code=201,
    tags=["datasets"],
    openapi_extra=file_body("data"),
    responses=_UPLOAD_PROBLEMS,
    dependencies=[ROOM_FOR_FILES],
)
async def upload_dataset(
    request: Request, response: Response, services: ServicesDep
) -> DatasetView:
    """Upload data as the part `data` of a form: `.npz`, `.csv`, `.zip` or `.tfrecord`."""
    limits = FormLimits(files={"data": services.max_dataset_bytes})
    async with receive_form(request, limits, folder=services.incoming) as files:
        received = required_part(files, "data")
        dataset = await to_thread.run_sync(_accept_dataset, services, received)
    response.headers["Location"] = f"/v1/datasets/{dataset.ref.id}"
    return DatasetView.of(dataset)


@router.get("/datasets/{dataset_id}", tags=["datasets"], responses=problem_responses(404, 503))
def get_dataset(dataset_id: str, services: ServicesDep) -> DatasetView:
    """Show a dataset: names, shapes, dtypes and counts."""
    return DatasetView.of(services.store.dataset(dataset_id))


@router.delete(
    "/datasets/{dataset_id}",
    status_code=204,
    tags=["datasets"],
    responses=problem_responses(404, 409, 503),
)
def delete_dataset(dataset_id: str, services: ServicesDep) -> None:
    """Remove a dataset. An unfinished job that needs it keeps it."""
    services.files.delete(services.store.delete_dataset(dataset_id))


def _accept_model(services: Services, received: ReceivedFile) -> StoredModel:
    model = admission.describe_model(services, received)
    with ExitStack() as undo:
        admission.keep_model(services, model, received.path, undo=undo)
        undo.pop_all()
    return model


def _accept_dataset(services: Services, received: ReceivedFile) -> StoredDataset:
    dataset = admission.describe_dataset(services, received)
    with ExitStack() as undo:
        admission.keep_dataset(services, dataset, received.path, undo=undo)
        undo.pop_all()
    return dataset
