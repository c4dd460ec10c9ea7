import numpy as np
import pytest

from espalier import Client, RefusedError, UnreachableError
from tests.app.api.conftest import DATA, npz
from tests.espalier.cable import Cable

HALF = {"schedule": {"kind": "one_shot", "target_sparsity": 0.5}}
SMALL = DATA / "small.keras"


class LiveModel:
    """What the client knows of a Keras model: it can be saved."""

    def save(self, filepath):
        filepath.write_bytes(SMALL.read_bytes())


@pytest.fixture
def arrays():
    chance = np.random.default_rng(0)
    return chance.random((100, 8), "float32"), chance.integers(0, 4, 100)


@pytest.fixture
def summary(served):
    """What the service found in the data of a job."""
    store = served.backends.store
    return lambda job: store.dataset(job.state.dataset.id).summary


def test_files_are_uploaded_under_their_names_and_the_job_is_queued(client, tmp_path):
    data = tmp_path / "train.npz"
    data.write_bytes(npz())

    job = client.prune(SMALL, data, HALF)

    assert job.state.status == "queued"
    assert (job.state.model.filename, job.state.dataset.filename) == ("small.keras", "train.npz")
    assert job.state.spec["schedule"]["target_sparsity"] == 0.5
    assert client.job(job.id).state == job.state


def test_a_live_model_and_arrays_are_taken_as_they_are(client, summary, arrays):
    job = client.prune(LiveModel(), arrays, HALF)

    assert job.state.model.bytes == SMALL.stat().st_size
    assert summary(job).train_samples == 100


def test_what_the_datasets_of_keras_give_is_taken(client, summary, arrays):
    x, y = arrays

    job = client.prune(SMALL, ((x, y), (x[:30], y[:30])), HALF)

    assert (summary(job).train_samples, summary(job).test_samples) == (100, 30)


def test_arrays_by_their_names_need_no_labels(client, summary, arrays):
    job = client.prune(SMALL, {"x_train": arrays[0], "x_val": arrays[0][:9]})

    assert not summary(job).has_labels
    assert summary(job).validation_samples == 9


def test_data_may_be_left_out(client):
    assert client.prune(SMALL).state.dataset is None


def test_arrays_of_objects_never_leave_this_process(client):
    with pytest.raises(ValueError, match="allow_pickle"):
        client.prune(SMALL, {"x": np.array([{}], dtype=object)})


@pytest.mark.parametrize(
    ("model", "data", "rule"),
    [
        pytest.param(7, None, "model must be a path or a Keras model. Received: int", id="model"),
        pytest.param(SMALL, 7, "data must be a path, arrays by their names", id="data"),
    ],
)
def test_what_can_be_no_model_and_no_data_is_refused_here(client, model, data, rule):
    with pytest.raises(TypeError, match=rule):
        client.prune(model, data)


def test_a_refusal_says_why_in_the_words_of_the_service(client):
    with pytest.raises(
        RefusedError, match=r"must be a fraction in \[0, 1\). Received: 50"
    ) as caught:
        client.prune(SMALL, None, {"schedule": {"kind": "one_shot", "target_sparsity": 50}})

    assert (caught.value.status, caught.value.code) == (422, "invalid_spec")


def test_a_job_that_is_not_there_is_refused(client):
    with pytest.raises(RefusedError) as caught:
        client.job("job_none")

    assert caught.value.code == "job_not_found"


def test_a_submission_whose_answer_is_lost_makes_one_job(served, client):
    before = {state.id for state in client.jobs()}

    with Cable(served.address) as cable, Client(cable.address) as caller:
        list(caller.jobs(status="failed"))
        cable.break_after(0)
        job = caller.prune(SMALL, None, HALF)

        assert cable.has_broken
    assert {state.id for state in client.jobs()} - before == {job.id}


def test_the_same_key_gives_the_first_job_again(client):
    first = client.prune(SMALL, None, HALF, idempotency_key="mine")

    assert client.prune(SMALL, None, HALF, idempotency_key="mine").id == first.id


def test_how_much_was_uploaded_is_told_up_to_all_of_it(client):
    told = []

    client.prune(SMALL, None, HALF, on_upload=lambda sent, total: told.append((sent, total)))

    size = SMALL.stat().st_size
    assert told[-1] == (size, size)


def test_a_preflight_says_what_would_be_done_and_makes_no_job(client, arrays):
    before = [state.id for state in client.jobs()]

    plan = client.preflight(SMALL, arrays, HALF)

    assert plan.sparsity == 0.5
    assert plan.layers[0].pruned
    assert [state.id for state in client.jobs()] == before


def test_every_job_is_listed_whatever_the_size_of_a_page(served, client):
    queued = [served.queue() for _ in range(25)]

    listed = [state.id for state in client.jobs(status="queued")]

    assert listed[:25] == queued[::-1]


def test_a_service_that_never_answered_is_not_waited_for():
    with (
        Client("http://127.0.0.1:9", patience_seconds=1e9) as client,
        pytest.raises(UnreachableError, match="does not answer"),
    ):
        client.job("job_1")


def test_what_is_no_espalier_is_said_to_be_none(served):
    with (
        Client(f"{served.address}/livez?") as client,
        pytest.raises(UnreachableError, match="must be Espalier"),
    ):
        client.job("")
