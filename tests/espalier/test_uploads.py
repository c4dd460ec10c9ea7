import hashlib

import pytest

from espalier import Client, DamagedUploadError, RefusedError, uploads
from tests.app.api.conftest import DATA, npz
from tests.espalier.cable import Cable

HALF = {"schedule": {"kind": "one_shot", "target_sparsity": 0.5}}
SMALL = DATA / "small.keras"


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch):
    monkeypatch.setattr(uploads, "LARGE_BYTES", 1)
    monkeypatch.setattr(uploads, "_PIECE_BYTES", 8000)
    monkeypatch.setattr(uploads, "_BLOCK_BYTES", 1000)


@pytest.fixture
def kept(served):
    """Every file of models and datasets that the service keeps, or is being sent."""

    def look():
        folders = [served.folder / "files" / name for name in ("models", "datasets", "uploads")]
        return {path for folder in folders for path in folder.rglob("*") if path.is_file()}

    return look


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "train.npz"
    path.write_bytes(npz())
    return path


def test_a_large_order_is_sent_in_pieces_and_is_one_job(client, data):
    job = client.prune(SMALL, data, HALF)

    assert job.state.status == "queued"
    assert (job.state.model.filename, job.state.dataset.filename) == ("small.keras", "train.npz")
    assert job.state.model.sha256 == hashlib.sha256(SMALL.read_bytes()).hexdigest()
    assert job.state.spec["schedule"]["target_sparsity"] == 0.5


def test_what_was_sent_goes_with_its_job(client, data, kept):
    before = kept()
    job = client.prune(SMALL, data, HALF)
    job.cancel()

    job.delete()

    assert kept() == before


@pytest.mark.parametrize("breaks", [(0, 0, 0, 0), (60, 250, 250, 60), (700, 300)])
def test_a_connection_that_breaks_is_gone_on_with(served, data, breaks):
    with Cable(served.address) as cable, Client(cable.address) as client:
        list(client.jobs(status="failed"))
        cable.break_after(*breaks)
        job = client.prune(SMALL, data, HALF)

        assert cable.has_broken
    assert job.state.model.sha256 == hashlib.sha256(SMALL.read_bytes()).hexdigest()
    assert job.state.dataset.sha256 == hashlib.sha256(data.read_bytes()).hexdigest()


def test_how_much_was_sent_is_told_up_to_all_of_it(client, data):
    told = []

    client.prune(SMALL, data, on_upload=lambda sent, total: told.append((sent, total)))

    total = SMALL.stat().st_size + data.stat().st_size
    assert told[-1] == (total, total)
    assert told == sorted(told)


def test_a_model_that_is_refused_says_why_and_leaves_nothing(client, tmp_path, kept):
    before = kept()
    path = tmp_path / "none.keras"
    path.write_bytes(b"no model")

    with pytest.raises(RefusedError) as caught:
        client.prune(path)

    assert caught.value.code == "not_a_model"
    assert kept() == before


def test_an_order_that_is_refused_leaves_nothing(client, data, kept):
    before = kept()

    with pytest.raises(RefusedError, match="must be a fraction"):
        client.prune(SMALL, data, {"schedule": {"kind": "one_shot", "target_sparsity": 50}})

    assert kept() == before


def test_a_preflight_leaves_nothing(client, data, kept):
    before = kept()

    assert client.preflight(SMALL, data, HALF).sparsity == 0.5

    assert kept() == before


def test_the_same_key_gives_the_first_job_and_keeps_its_files_alone(client, data, kept):
    first = client.prune(SMALL, data, HALF, idempotency_key="large")
    before = kept()

    assert client.prune(SMALL, data, HALF, idempotency_key="large").id == first.id

    assert kept() == before


def test_a_file_that_changes_meanwhile_is_not_taken_for_what_it_was(client, data, tmp_path, kept):
    before = kept()
    path = tmp_path / "m.keras"
    path.write_bytes(SMALL.read_bytes())

    def spoil(sent, _total):
        if sent == path.stat().st_size:
            path.write_bytes(SMALL.read_bytes()[:-1] + b"x")

    with pytest.raises(DamagedUploadError, match=r"m\.keras must not change while it is sent"):
        client.prune(path, data, on_upload=spoil)

    assert kept() == before


def test_an_upload_that_was_broken_off_is_withdrawn(client, kept):
    before = kept()

    def stop(sent, total):
        if sent > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.prune(SMALL, on_upload=stop)

    assert kept() == before
