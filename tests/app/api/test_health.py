import shutil
from dataclasses import asdict
from datetime import timedelta

import pytest

from app.jobs.confinement.process import Confinement


def test_a_process_that_answers_is_alive(client):
    assert client.get("/livez").json() == {"status": "alive"}


def test_a_service_that_reaches_everything_is_ready(client):
    answer = client.get("/readyz")

    assert answer.status_code == 200
    assert answer.json()["checks"] == {"database": "ok", "files": "ok", "redis": "ok"}


def test_the_operator_is_told_while_there_is_no_worker(client):
    answer = client.get("/readyz").json()

    assert answer["confinement"] is None
    assert answer["notes"] == ["No worker has been seen of late: jobs wait."]


@pytest.mark.parametrize(
    ("confinement", "advice"),
    [
        pytest.param(Confinement(landlock=7, seccomp=True), "", id="complete"),
        pytest.param(Confinement(landlock=0, seccomp=True), "people you trust", id="no Landlock"),
    ],
)
def test_the_operator_is_told_how_runners_are_confined(client, backends, confinement, advice):
    backends.workers.here("w1", confinement, lease=timedelta(minutes=1))

    answer = client.get("/readyz").json()

    assert answer["confinement"] == asdict(confinement)
    assert advice in " ".join(answer["notes"])
    assert bool(answer["notes"]) == bool(advice)


def test_a_service_without_its_broker_is_not_ready(client, doorbell):
    doorbell.is_broken = True

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert answer.json()["checks"] == {"database": "ok", "files": "ok", "redis": "away"}


@pytest.fixture
def without_database(tmp_path, backends):
    """Puts a folder where the database was."""
    backends.store._engine.dispose()
    for path in tmp_path.glob("espalier.sqlite*"):
        path.unlink()
    (tmp_path / "espalier.sqlite").mkdir()


@pytest.mark.usefixtures("without_database")
def test_a_service_without_its_database_is_not_ready(client):
    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["checks"]["database"] == "away"


@pytest.mark.usefixtures("without_database")
def test_a_call_that_needs_the_database_is_a_503_that_keeps_its_secrets(client):
    answer = client.get("/v1/jobs")

    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert answer.json()["code"] == "backend_unavailable"
    assert "sqlite" not in answer.text


def test_a_service_without_its_files_is_not_ready(client, tmp_path):
    shutil.rmtree(tmp_path / "files")
    (tmp_path / "files").write_text("in the way")

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["checks"]["files"] == "away"
