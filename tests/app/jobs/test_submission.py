import pytest
from sqlalchemy.exc import IntegrityError

from app.jobs.errors import (
    DatasetNotFoundError,
    IdempotencyConflictError,
    JobNotFoundError,
    ModelNotFoundError,
)
from app.jobs.job import JobStatus, Notice
from app.jobs.spec import parse_spec
from app.jobs.submissions import Idempotency

ONCE = Idempotency(key="order-1", fingerprint="f" * 64)
OTHER = Idempotency(key="order-1", fingerprint="0" * 64)


def test_a_submitted_job_is_read_back_whole(store, mine, caller):
    spec = parse_spec(
        """{"schedule": {"kind": "one_shot", "target_sparsity": 0.5},
            "layers": [{"match": "conv*", "schedule": {"kind": "iterative", "rounds": 3}}],
            "training": {"optimizer": {"kind": "sgd"}, "metrics": ["accuracy"]}}"""
    )
    warnings = (Notice(code="few_samples", message="Ten samples are few."),)
    job = caller.new_job(spec=spec, warnings=warnings, dataset=caller.add_dataset().ref)

    submitted = mine.submit(job)

    assert not submitted.replayed
    assert submitted.job == store.job(job.id) == job


def test_a_job_without_its_model_is_refused(store, mine, caller):
    job = caller.new_job()
    mine.delete_model(job.model.id)

    with pytest.raises(ModelNotFoundError):
        mine.submit(job)

    with pytest.raises(JobNotFoundError):
        store.job(job.id)


def test_a_job_without_its_dataset_is_refused(mine, caller):
    dataset = caller.add_dataset()
    mine.delete_dataset(dataset.ref.id)

    with pytest.raises(DatasetNotFoundError):
        mine.submit(caller.new_job(dataset=dataset.ref))


def test_the_same_request_again_gets_the_first_job(mine, caller):
    first = mine.submit(caller.new_job(), idempotency=ONCE)

    second = mine.submit(caller.new_job(), idempotency=ONCE)

    assert (first.replayed, second.replayed) == (False, True)
    assert second.job == first.job
    assert mine.jobs(limit=10).jobs == (first.job,)


def test_a_replay_shows_the_job_as_it_is_now(store, mine, caller, lease):
    job = mine.submit(caller.new_job(), idempotency=ONCE).job
    store.claim(job.id, worker="w", lease=lease)

    replay = mine.submit(caller.new_job(), idempotency=ONCE)

    assert replay.job.status is JobStatus.RUNNING


def test_the_key_of_another_request_is_refused(mine, caller):
    mine.submit(caller.new_job(), idempotency=ONCE)

    with pytest.raises(IdempotencyConflictError, match="two different requests"):
        mine.submit(caller.new_job(), idempotency=OTHER)


def test_deleting_the_job_frees_its_key(mine, caller):
    job = mine.submit(caller.new_job(), idempotency=ONCE).job
    mine.request_cancel(job.id)
    mine.delete_job(job.id)

    assert not mine.submit(caller.new_job(), idempotency=OTHER).replayed


def test_an_id_that_is_taken_is_no_replay(mine, caller):
    job = caller.submit()

    with pytest.raises(IntegrityError):
        mine.submit(job, idempotency=ONCE)
