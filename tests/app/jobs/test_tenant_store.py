"""One store, two tenants: neither finds what is the other's, and what they change is noted."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.jobs.errors import (
    DatasetNotFoundError,
    JobNotFoundError,
    JobQuotaError,
    ModelNotFoundError,
    StorageQuotaError,
)
from app.jobs.keys import Keys
from app.jobs.lanes import Lane
from app.jobs.quotas import Quota
from app.jobs.submissions import Idempotency
from app.jobs.tenants import Caller

ONCE = Idempotency(key="order-1", fingerprint="f" * 64)
THEM = Caller(tenant="them", key_id="key_of_them")


@pytest.fixture
def theirs(store):
    return store.of(THEM)


@pytest.fixture
def unstored(mine, caller):
    """Return a function that makes a model of 100 bytes that no tenant has."""

    def make():
        model = caller.add_model()
        mine.delete_model(model.ref.id)
        return model

    return make


@pytest.fixture
def bounded(store):
    """Return what the tenant of ``caller`` sees when it may take only so much."""

    def within(*, stored_bytes=10**15, unfinished_jobs=10**6):
        quota = Quota(stored_bytes=stored_bytes, unfinished_jobs=unfinished_jobs)
        return store.of(Caller(tenant="local", key_id=None), quota=quota)

    return within


@pytest.mark.parametrize(
    "look",
    [
        pytest.param(lambda store, id_: store.job(id_), id="job"),
        pytest.param(lambda store, id_: store.events(id_), id="events"),
        pytest.param(lambda store, id_: store.history(id_), id="history"),
        pytest.param(lambda store, id_: store.artifacts(id_), id="artifacts"),
        pytest.param(lambda store, id_: store.artifact(id_, "model.keras"), id="artifact"),
        pytest.param(lambda store, id_: store.request_cancel(id_), id="cancel"),
        pytest.param(lambda store, id_: store.delete_job(id_), id="delete"),
        pytest.param(lambda store, id_: store.rang(id_), id="rang"),
    ],
)
def test_another_tenants_job_does_not_exist(store, mine, theirs, caller, result, artifact, look):
    claim = caller.claimed()
    store.succeed(claim, result, [artifact(claim)])
    before = store.job(claim.job.id), mine.events(claim.job.id)

    with pytest.raises(JobNotFoundError):
        look(theirs, claim.job.id)

    assert (store.job(claim.job.id), mine.events(claim.job.id)) == before


def test_another_tenants_uploads_do_not_exist(mine, theirs, caller):
    model_id, dataset_id = caller.add_model().ref.id, caller.add_dataset().ref.id

    for look in (theirs.model, theirs.delete_model):
        with pytest.raises(ModelNotFoundError):
            look(model_id)
    for look in (theirs.dataset, theirs.delete_dataset):
        with pytest.raises(DatasetNotFoundError):
            look(dataset_id)

    assert mine.model(model_id)
    assert mine.dataset(dataset_id)


def test_a_job_cannot_be_made_on_another_tenants_files(theirs, unstored, caller):
    model, dataset = caller.add_model().ref, caller.add_dataset().ref

    with pytest.raises(ModelNotFoundError):
        theirs.submit(caller.new_job(model=model))
    theirs.add_model(own := unstored())
    with pytest.raises(DatasetNotFoundError):
        theirs.submit(caller.new_job(model=own.ref, dataset=dataset))


def test_another_tenants_jobs_are_not_listed(mine, theirs, caller):
    job = caller.submit()

    assert theirs.jobs(limit=10).jobs == ()
    assert mine.jobs(limit=10).jobs == (job,)


def test_two_tenants_may_use_the_same_idempotency_key(mine, theirs, unstored, caller):
    job = mine.submit(caller.new_job(), idempotency=ONCE).job
    theirs.add_model(model := unstored())

    submitted = theirs.submit(caller.new_job(model=model.ref), idempotency=ONCE)

    assert not submitted.replayed
    assert mine.submit(caller.new_job(), idempotency=ONCE).job == job


def test_a_worker_takes_the_jobs_of_every_tenant(store, theirs, unstored, caller, lease):
    ours = caller.submit()
    theirs.add_model(model := unstored())
    other = theirs.submit(caller.new_job(model=model.ref)).job

    assert {ours.id, other.id} == set(store.due(Lane.SMALL, unrung_for=lease, most=10))
    for job in (ours, other):
        assert store.claim(job.id, worker="w", lease=lease)
        assert store.model(job.model.id).ref == job.model


class TestQuota:
    def test_a_file_that_just_fits_is_taken_and_one_more_byte_is_not(
        self, bounded, unstored, caller
    ):
        caller.add_model()
        caller.add_dataset()
        third = unstored()

        with pytest.raises(StorageQuotaError, match="may store 299 bytes; 200 are taken"):
            bounded(stored_bytes=299).add_model(third)
        bounded(stored_bytes=300).add_model(third)

    def test_artifacts_count(self, store, bounded, caller, result, artifact):
        claim = caller.claimed()
        store.succeed(claim, result, [artifact(claim)])

        with pytest.raises(StorageQuotaError, match="5000000100 are taken"):
            bounded(stored_bytes=10**9).require_room(more_bytes=1, more_jobs=0)

    def test_compressed_forms_of_artifacts_count(self, store, bounded, caller, result, artifact):
        claim = caller.claimed()
        packed_beside = artifact(claim).model_copy(update={"compressed_bytes": 7})
        store.succeed(claim, result, [packed_beside])

        with pytest.raises(StorageQuotaError, match="5000000107 are taken"):
            bounded(stored_bytes=10**9).require_room(more_bytes=1, more_jobs=0)

    def test_what_others_store_does_not_count(self, bounded, theirs, unstored):
        theirs.add_model(unstored())

        bounded(stored_bytes=100).require_room(more_bytes=100, more_jobs=0)

    def test_as_many_jobs_as_allowed_wait_and_one_more_is_refused(self, bounded, caller, mine):
        caller.submit()
        tenant = bounded(unfinished_jobs=2)
        tenant.submit(caller.new_job())

        refused = caller.new_job()
        with pytest.raises(JobQuotaError, match="may have 2 jobs"):
            tenant.submit(refused)

        with pytest.raises(JobNotFoundError):
            mine.job(refused.id)

    def test_a_finished_job_makes_room(self, bounded, caller):
        tenant = bounded(unfinished_jobs=1)
        tenant.request_cancel(caller.submit().id)

        tenant.require_room(more_bytes=0, more_jobs=1)
        assert tenant.submit(caller.new_job())

    def test_a_replay_needs_no_room(self, bounded, caller):
        tenant = bounded(unfinished_jobs=1)
        job = tenant.submit(caller.new_job(), idempotency=ONCE).job

        assert tenant.submit(caller.new_job(), idempotency=ONCE).job == job


class TestAudit:
    @pytest.fixture
    def noted(self, engine):
        """Return what the audit says, oldest first."""

        def read():
            query = text("SELECT tenant, key_id, action, subject FROM audit ORDER BY number")
            with engine.connect() as connection:
                return [tuple(row) for row in connection.execute(query)]

        return read

    def test_every_change_is_noted_with_who_made_it(self, theirs, unstored, caller, noted):
        model = unstored()
        job = caller.new_job(model=model.ref)
        before = len(noted())

        theirs.add_model(model)
        theirs.submit(job)
        theirs.request_cancel(job.id)
        theirs.delete_job(job.id)
        theirs.delete_model(model.ref.id)

        assert noted()[before:] == [
            ("them", "key_of_them", action, subject)
            for action, subject in (
                ("model_added", model.ref.id),
                ("job_submitted", job.id),
                ("job_cancel_requested", job.id),
                ("job_deleted", job.id),
                ("model_deleted", model.ref.id),
            )
        ]

    def test_datasets_are_noted(self, mine, caller, noted):
        dataset = caller.add_dataset()
        mine.delete_dataset(dataset.ref.id)

        assert noted() == [
            ("local", None, "dataset_added", dataset.ref.id),
            ("local", None, "dataset_deleted", dataset.ref.id),
        ]

    def test_keys_are_noted(self, engine, noted):
        keys = Keys(engine)
        key_id = keys.create("ours").split("_")[1]
        keys.revoke(key_id)

        assert noted() == [
            ("ours", None, "key_created", key_id),
            ("ours", None, "key_revoked", key_id),
        ]

    def test_what_was_refused_and_what_was_replayed_changed_nothing(self, mine, caller, noted):
        mine.submit(caller.new_job(), idempotency=ONCE)
        again = caller.new_job()
        before = noted()

        mine.submit(again, idempotency=ONCE)
        with pytest.raises(JobNotFoundError):
            mine.request_cancel("job_none")

        assert noted() == before

    @pytest.mark.parametrize("change", ["DELETE FROM audit", "UPDATE audit SET tenant = 'x'"])
    def test_what_is_noted_stays(self, engine, caller, noted, change):
        caller.add_model()
        before = noted()

        with (
            pytest.raises(IntegrityError, match="only ever added to"),
            engine.begin() as connection,
        ):
            connection.execute(text(change))

        assert noted() == before
