import pytest

from app.jobs.errors import JobConflictError, JobNotFoundError, ModelNotFoundError
from app.jobs.history import HistoryChunk, Scope
from app.jobs.ids import new_id


@pytest.fixture
def submit_with_files(caller):
    """Submit a job together with its model and dataset, as a form does."""

    def submit():
        job_id = new_id("job")
        model = caller.add_model(uploaded_with=job_id)
        dataset = caller.add_dataset(uploaded_with=job_id)
        return caller.submit(id=job_id, model=model.ref, dataset=dataset.ref)

    return submit


@pytest.fixture
def delete(mine):
    """Delete a job that has not begun."""

    def cancel_and_delete(job):
        mine.request_cancel(job.id)
        return mine.delete_job(job.id)

    return cancel_and_delete


def test_a_deleted_job_is_gone_with_all_that_it_had(store, mine, caller, artifact, result, engine):
    claim = caller.claimed()
    chunk = HistoryChunk(scope=Scope.EPOCH, columns={"epoch": (1,)})
    store.record(claim, history=[chunk])
    store.succeed(claim, result, [artifact(claim)])

    assert mine.delete_job(claim.job.id) == [f"jobs/{claim.job.id}"]

    for look_up in (store.job, mine.events, mine.history, mine.artifacts):
        with pytest.raises(JobNotFoundError):
            look_up(claim.job.id)
    with engine.connect() as connection:
        for table in ("events", "history", "artifacts"):
            assert not connection.exec_driver_sql(f"SELECT * FROM {table}").all()  # noqa: S608


@pytest.mark.parametrize("claims", [False, True], ids=["queued", "running"])
def test_a_job_that_has_not_finished_cannot_be_deleted(store, mine, caller, claims):
    job = caller.claimed().job if claims else caller.submit()

    with pytest.raises(JobConflictError, match="cancel it first"):
        mine.delete_job(job.id)

    assert store.job(job.id) == job


def test_what_was_uploaded_with_a_job_goes_with_it(store, submit_with_files, delete):
    job = submit_with_files()
    keys = [store.model(job.model.id).key, store.dataset(job.dataset.id).key]

    assert delete(job) == [f"jobs/{job.id}", *keys]

    with pytest.raises(ModelNotFoundError):
        store.model(job.model.id)


def test_what_was_uploaded_by_itself_stays(store, caller, delete):
    job = caller.submit()

    assert delete(job) == [f"jobs/{job.id}"]
    assert store.model(job.model.id).ref == job.model


def test_what_another_job_uses_goes_with_the_last_of_them(store, caller, submit_with_files, delete):
    first = submit_with_files()
    second = caller.submit(model=first.model)

    assert delete(first) == [f"jobs/{first.id}", f"datasets/{first.dataset.id}/train.npz"]
    assert store.model(first.model.id).uploaded_with == second.id

    assert delete(second) == [f"jobs/{second.id}", f"models/{first.model.id}/model.keras"]


def test_what_a_job_takes_with_it_goes_with_it(mine, caller, delete):
    model, dataset = caller.add_model(), caller.add_dataset()
    job = caller.new_job(model=model.ref, dataset=dataset.ref)
    mine.submit(job, going_with_it=["model", "dataset"])

    assert delete(job) == [f"jobs/{job.id}", model.key, dataset.key]


def test_a_job_takes_nothing_with_it_that_goes_with_another(store, mine, caller):
    first = caller.submit(model=caller.add_model(uploaded_with="job_other").ref)
    second = caller.new_job(model=first.model)

    mine.submit(second, going_with_it=["model", "dataset"])

    assert store.model(first.model.id).uploaded_with == "job_other"
