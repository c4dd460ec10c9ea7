"""Models and datasets in the store."""

import pytest

from app.jobs.errors import DatasetNotFoundError, InUseError, ModelNotFoundError
from app.jobs.job import Failure

FAILURE = Failure(code="x", message="It broke.", hint="Mend it.")


def test_what_was_added_is_read_back(store, caller):
    model, dataset = caller.add_model(), caller.add_dataset()

    assert store.model(model.ref.id) == model
    assert store.dataset(dataset.ref.id) == dataset


def test_what_was_deleted_is_not_found_and_its_file_is_named(store, mine, caller):
    model, dataset = caller.add_model(), caller.add_dataset()

    keys = [mine.delete_model(model.ref.id), mine.delete_dataset(dataset.ref.id)]

    assert keys == [model.key, dataset.key]
    with pytest.raises(ModelNotFoundError, match=f"there is no model '{model.ref.id}'"):
        store.model(model.ref.id)
    with pytest.raises(DatasetNotFoundError, match=f"there is no dataset '{dataset.ref.id}'"):
        store.dataset(dataset.ref.id)


def test_what_never_was_cannot_be_deleted(mine):
    with pytest.raises(ModelNotFoundError):
        mine.delete_model("mdl_none")


def test_a_model_that_a_queued_job_needs_stays(store, mine, caller):
    job = caller.submit()

    with pytest.raises(InUseError, match="is needed by a job that has not finished"):
        mine.delete_model(job.model.id)

    assert store.model(job.model.id).ref == job.model


def test_a_dataset_that_a_running_job_needs_stays(mine, caller):
    dataset = caller.add_dataset()
    caller.claimed(dataset=dataset.ref)

    with pytest.raises(InUseError):
        mine.delete_dataset(dataset.ref.id)


def test_a_finished_job_outlives_its_model(store, mine, caller):
    claim = caller.claimed()
    store.fail(claim, FAILURE)

    mine.delete_model(claim.job.model.id)

    assert store.job(claim.job.id).model == claim.job.model
