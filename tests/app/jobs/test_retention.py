from datetime import timedelta

import pytest
from sqlalchemy import select

from app.jobs.database import reading
from app.jobs.errors import DatasetNotFoundError, JobNotFoundError, ModelNotFoundError
from app.jobs.ids import new_id
from app.jobs.spec import JobSpec
from app.jobs.tables import audit

HOUR = JobSpec(retention_seconds=3600)


@pytest.fixture
def ended(caller, mine):
    """Submit a job with its model and dataset, as a form does, and cancel it."""

    def ended(spec):
        job_id = new_id("job")
        model = caller.add_model(uploaded_with=job_id)
        dataset = caller.add_dataset(uploaded_with=job_id)
        job = caller.submit(id=job_id, model=model.ref, dataset=dataset.ref, spec=spec)
        return mine.request_cancel(job.id)

    return ended


def test_a_job_goes_with_all_that_it_had_when_its_time_is_over(store, ended, clock):
    job = ended(HOUR)
    keys = [store.model(job.model.id).key, store.dataset(job.dataset.id).key]

    clock.advance(3599)
    before = store.forget_expired(uploads_kept=None)
    clock.advance(1)
    after = store.forget_expired(uploads_kept=None)

    assert before == []
    assert after == [f"jobs/{job.id}", *keys]
    with pytest.raises(JobNotFoundError):
        store.job(job.id)


def test_a_job_that_says_nothing_stays(store, ended, clock):
    job = ended(JobSpec())

    clock.advance(10**9)

    assert store.forget_expired(uploads_kept=None) == []
    assert store.job(job.id) == job


def test_a_job_that_has_not_ended_has_time(store, caller, clock):
    job = caller.submit(spec=HOUR)

    clock.advance(10**9)

    assert store.forget_expired(uploads_kept=None) == []
    assert store.job(job.id) == job


def test_the_operator_keeps_no_job_longer_than_said():
    shortest = [
        JobSpec(retention_seconds=own).kept_at_most(most).retention_seconds
        for own in (None, 60, 120)
        for most in (None, 90)
    ]

    assert shortest == [None, 90, 60, 60, 120, 90]


def test_uploads_go_that_no_job_names(store, caller, clock):
    needed = caller.submit(dataset=caller.add_dataset().ref)
    model, dataset = caller.add_model(), caller.add_dataset()

    clock.advance(60)
    at_the_border = store.forget_expired(uploads_kept=timedelta(seconds=60))
    clock.advance(1)
    after_it = store.forget_expired(uploads_kept=timedelta(seconds=60))

    assert (at_the_border, after_it) == ([], [model.key, dataset.key])
    with pytest.raises(ModelNotFoundError):
        store.model(model.ref.id)
    with pytest.raises(DatasetNotFoundError):
        store.dataset(dataset.ref.id)
    assert store.model(needed.model.id)
    assert store.dataset(needed.dataset.id)


def test_what_goes_by_itself_is_in_the_audit_of_its_tenant(store, engine, caller, ended, clock):
    job, model = ended(HOUR), caller.add_model()

    clock.advance(3600)
    store.forget_expired(uploads_kept=timedelta(seconds=60))

    query = select(audit.c.action, audit.c.tenant, audit.c.subject, audit.c.key_id)
    with reading(engine) as connection:
        noted = connection.execute(query.where(audit.c.action.like("%_expired"))).all()
    assert noted == [
        ("job_expired", "local", job.id, None),
        ("model_expired", "local", model.ref.id, None),
    ]


def test_a_file_is_needed_as_long_as_a_row_names_it(store, caller, artifact, result):
    claim = caller.claimed(dataset=caller.add_dataset().ref)
    published = artifact(claim)
    store.succeed(claim, result, [published])
    named = [
        store.model(claim.job.model.id).key,
        store.dataset(claim.job.dataset.id).key,
        published.key,
        published.key + ".zst",
    ]
    nameless = [
        "models/mdl_gone/model.keras",
        "datasets/dat_gone/data.npz",
        "jobs/job_gone/1/model.keras",
        f"jobs/{claim.job.id}/7/model.keras",
        f"jobs/{claim.job.id}/checkpoints/1-5",
    ]

    assert store.without_row([*named, *nameless]) == nameless


def test_whatever_a_worker_writes_for_its_job_is_left_to_it(store, caller):
    claim = caller.claimed()
    keys = [f"jobs/{claim.job.id}/1/model.keras", f"jobs/{claim.job.id}/checkpoints/1-5"]

    assert store.without_row(keys) == []


def test_a_file_that_is_not_called_as_ours_are_is_left_alone(store):
    assert store.without_row(["readme.txt", "lost+found/1"]) == []
