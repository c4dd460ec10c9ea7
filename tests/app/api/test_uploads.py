from dataclasses import replace

import pytest

from app.jobs.artifacts import ArtifactStore


@pytest.fixture
def stored_model(client, model):
    return client.post("/v1/models", files={"model": ("m.keras", model)}).json()


@pytest.fixture
def stored_dataset(client, data):
    return client.post("/v1/datasets", files={"data": ("d.npz", data)}).json()


def test_an_uploaded_model_says_what_can_be_pruned_or_why_not(client, stored_model):
    shown = client.get(f"/v1/models/{stored_model['id']}").json()

    assert shown == stored_model
    assert shown["filename"] == "m.keras"
    assert [layer["name"] for layer in shown["layers"]] == ["features", "hidden", "classes"]
    prunable = {
        (weight["layer"], weight["weight"]): weight["prunable"] for weight in shown["weights"]
    }
    assert prunable == {
        ("hidden", "kernel"): True,
        ("hidden", "bias"): False,
        ("classes", "kernel"): True,
        ("classes", "bias"): False,
    }
    assert all(weight["prunable"] or weight["reason"] for weight in shown["weights"])


def test_an_uploaded_model_says_where_it_is(client, model):
    answer = client.post("/v1/models", files={"model": ("m.keras", model)})

    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/models/{answer.json()['id']}"


def test_an_uploaded_dataset_says_what_is_in_it(client, stored_dataset):
    shown = client.get(f"/v1/datasets/{stored_dataset['id']}").json()

    assert shown == stored_dataset
    assert {array["name"]: array["shape"] for array in shown["arrays"]} == {
        "x_train": [1000, 8],
        "y_train": [1000],
        "x_test": [50, 8],
        "y_test": [50],
    }
    assert shown["train_samples"] == 1000


def test_a_model_that_is_none_is_a_415(client):
    answer = client.post("/v1/models", files={"model": ("m.keras", b"no model")})

    assert answer.status_code == 415


def test_data_that_are_none_are_a_422(client):
    answer = client.post("/v1/datasets", files={"data": ("d.npz", b"no data")})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/data"


@pytest.mark.parametrize("kind", ["models", "datasets"])
def test_what_is_deleted_is_gone_with_its_file(
    client, tmp_path, stored_model, stored_dataset, kind
):
    stored = {"models": stored_model, "datasets": stored_dataset}[kind]
    url = f"/v1/{kind}/{stored['id']}"

    answer = client.delete(url)

    assert answer.status_code == 204
    assert client.get(url).status_code == 404
    assert not [path for path in (tmp_path / "files" / kind).rglob("*") if path.is_file()]


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_what_an_unfinished_job_needs_stays(client, stored_model, stored_dataset, kind):
    ids = {"model_id": stored_model["id"], "dataset_id": stored_dataset["id"]}
    client.post("/v1/jobs", json=ids)

    answer = client.delete(f"/v1/{kind}s/{ids[f'{kind}_id']}")

    assert answer.status_code == 409
    assert answer.json()["code"] == "in_use"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_what_does_not_exist_is_a_404(client, method, kind):
    answer = client.request(method, f"/v1/{kind}s/unknown")

    assert answer.status_code == 404
    assert answer.json()["code"] == f"{kind}_not_found"


def test_a_job_on_a_model_that_does_not_exist_is_a_404(client):
    answer = client.post("/v1/jobs", json={"model_id": "mdl_unknown"})

    assert answer.status_code == 404
    assert answer.json()["code"] == "model_not_found"


@pytest.fixture
def full(backends, calling, tmp_path):
    """A service whose disk has no more room."""
    files = ArtifactStore((tmp_path / "files").as_uri(), keep_free_bytes=2**62)
    with calling(replace(backends, files=files)) as client:
        yield client


@pytest.mark.parametrize("path", ["/v1/models", "/v1/datasets", "/v1/jobs"])
def test_with_a_full_disk_nothing_is_taken(full, path, model, data, tmp_path):
    answer = full.post(path, files={"model": model, "data": data})

    assert answer.status_code == 503
    assert answer.json()["code"] == "storage_full"
    assert "no room" in answer.json()["detail"]
    assert answer.headers["Retry-After"] == "60"
    assert list((tmp_path / "incoming").iterdir()) == []


def test_with_a_full_disk_what_is_there_can_be_read_and_deleted(full, job):
    model_id = job["model"]["id"]

    assert full.get(f"/v1/models/{model_id}").status_code == 200
    assert full.post(f"/v1/jobs/{job['id']}/cancel").status_code == 202
    assert full.delete(f"/v1/jobs/{job['id']}").status_code == 204
