import json
from dataclasses import replace
from datetime import timedelta

import pytest

from app.jobs.artifacts import checkpoint_key
from app.jobs.claims import Wish

LEASE = timedelta(minutes=1)
HALF = {"schedule": {"kind": "one_shot", "target_sparsity": 0.5}}


def test_a_submitted_job_is_queued_and_says_where_it_is(client, model, data):
    answer = client.submit(model, data, HALF)

    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert job["status"] == "queued"
    assert job["model"]["filename"] == "model.keras"
    assert job["dataset"]["bytes"] == len(data)
    assert client.get(answer.headers["Location"]).json() == job


def test_a_job_has_every_member_of_the_contract(job):
    assert set(job) == {
        "id",
        "status",
        "stage",
        "created_at",
        "started_at",
        "finished_at",
        "progress",
        "model",
        "dataset",
        "spec",
        "warnings",
        "failure",
        "result",
        "report_url",
    }
    assert job["created_at"].endswith("Z")


def test_a_spec_may_be_left_out_and_comes_back_with_every_default(client, model, data):
    spec = client.submit(model, data).json()["spec"]

    assert spec["schedule"]["kind"] == "polynomial_decay"
    assert spec["schedule"]["final_sparsity"] == 0.8
    assert spec["schedule"]["end_step"] is not None
    assert spec["training"]["validation_split"] == 0.0


def test_data_may_be_left_out(client, model):
    job = client.submit(model, spec=HALF).json()

    assert job["dataset"] is None


def test_the_parts_may_come_in_any_order(client, model, data):
    parts = [
        ("spec", (None, json.dumps(HALF))),
        ("data", ("d.npz", data)),
        ("model", ("m.keras", model)),
    ]

    answer = client.post("/v1/jobs", files=parts)

    assert answer.status_code == 202


def test_a_worker_is_woken(client, doorbell, model):
    job = client.submit(model).json()

    assert doorbell.rung == [job["id"]]


def test_a_job_is_accepted_although_no_worker_can_be_woken(client, services, doorbell, model):
    doorbell.is_broken = True

    answer = client.submit(model)

    assert answer.status_code == 202
    assert services.store.job(answer.json()["id"]).status == "queued"


def test_stored_files_can_be_named_instead_of_sent(client, model, data):
    model_id = client.post("/v1/models", files={"model": ("m.keras", model)}).json()["id"]
    dataset_id = client.post("/v1/datasets", files={"data": ("d.npz", data)}).json()["id"]

    answer = client.post(
        "/v1/jobs", json={"model_id": model_id, "dataset_id": dataset_id, "spec": HALF}
    )

    assert answer.status_code == 202
    assert answer.json()["model"]["id"] == model_id
    assert answer.json()["dataset"]["id"] == dataset_id


def test_the_warnings_of_the_plan_are_in_the_job(client, model, data):
    few_updates = {"schedule": {"kind": "polynomial_decay", "frequency": 1000}}

    job = client.submit(model, data, few_updates).json()

    assert job["warnings"]
    assert set(job["warnings"][0]) == {"code", "message"}


@pytest.mark.parametrize(
    ("spec", "pointer"),
    [
        ({"schedul": {}}, "/schedul"),
        ({"schedule": {"kind": "constant", "target_sparsity": 50}}, "/schedule/target_sparsity"),
        ({"training": {"epochs": "2"}}, "/training/epochs"),
        ({"layers": [{"match": "no such layer", "skip": True}]}, "/layers/0/match"),
    ],
)
def test_a_bad_spec_is_refused_at_the_field(client, model, spec, pointer):
    answer = client.submit(model, spec=spec)

    problem = answer.json()
    assert answer.status_code == 422
    assert problem["code"] == "invalid_spec"
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


def test_a_bad_spec_is_refused_before_the_files_are_looked_at(client):
    answer = client.submit(b"no model", spec={"schedul": {}})

    assert answer.json()["code"] == "invalid_spec"


def test_a_file_that_is_no_model_is_a_415(client):
    answer = client.submit(b"not a model, though it is called one")

    assert answer.status_code == 415
    assert answer.json()["code"] == "not_a_model"
    assert answer.json()["hint"]


def test_data_that_cannot_be_taken_are_a_422(client, model):
    answer = client.submit(model, b"not an npz file")

    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/data"]


def test_what_is_refused_leaves_nothing_behind(client, services, tmp_path, model):
    client.submit(b"not a model")
    client.submit(model, b"not data")
    client.submit(model, spec={"schedul": {}})

    assert client.get("/v1/jobs").json()["jobs"] == []
    assert list(services.incoming.iterdir()) == []
    assert [path for path in (tmp_path / "files").rglob("*") if path.is_file()] == []


def test_the_same_key_and_the_same_order_give_the_first_job(client, doorbell, tmp_path, model):
    first = client.submit(model, spec=HALF, **{"Idempotency-Key": "k"}).json()

    again = client.submit(model, spec=HALF, **{"Idempotency-Key": "k"})

    assert again.status_code == 202
    assert again.json() == first
    assert doorbell.rung == [first["id"]]
    assert len([path for path in (tmp_path / "files").rglob("*") if path.is_file()]) == 1


def test_the_same_key_and_another_order_are_a_422(client, model):
    client.submit(model, spec=HALF, **{"Idempotency-Key": "k"})

    answer = client.submit(model, spec={}, **{"Idempotency-Key": "k"})

    assert answer.status_code == 422
    assert answer.json()["code"] == "idempotency_key_reused"


def test_jobs_are_listed_newest_first_and_page_by_page(client, model):
    first, second, third = (client.submit(model).json()["id"] for _ in range(3))

    page = client.get("/v1/jobs", params={"limit": 2}).json()
    rest = client.get("/v1/jobs", params={"limit": 2, "after": page["next_cursor"]}).json()

    assert [job["id"] for job in page["jobs"]] == [third, second]
    assert [job["id"] for job in rest["jobs"]] == [first]
    assert rest["next_cursor"] is None


def test_jobs_are_listed_by_status(client, job):
    queued = client.get("/v1/jobs", params={"status": "queued"}).json()["jobs"]
    running = client.get("/v1/jobs", params={"status": "running"}).json()["jobs"]

    assert ([listed["id"] for listed in queued], running) == ([job["id"]], [])


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"limit": 0}, "invalid_request"),
        ({"limit": 101}, "invalid_request"),
        ({"status": "sleeping"}, "invalid_request"),
        ({"after": "no cursor"}, "invalid_cursor"),
    ],
)
def test_a_page_that_cannot_be_is_refused(client, parameters, code):
    answer = client.get("/v1/jobs", params=parameters)

    assert answer.status_code == 422
    assert answer.json()["code"] == code


def test_a_queued_job_is_cancelled_at_once(client, job):
    answer = client.post(f"/v1/jobs/{job['id']}/cancel")

    assert answer.status_code == 202
    assert answer.json()["status"] == "cancelled"


def test_a_running_job_is_asked_to_stop(client, backends, worker, job):
    claim = worker.claim(job["id"])

    answer = client.post(f"/v1/jobs/{job['id']}/cancel")

    assert answer.json()["status"] == "running"
    assert backends.store.heartbeat(claim, lease=LEASE) is Wish.CANCEL


def test_a_finished_job_cannot_be_cancelled(client, worker, job):
    worker.succeed(job["id"])

    answer = client.post(f"/v1/jobs/{job['id']}/cancel")

    assert answer.status_code == 409
    assert answer.json()["code"] == "job_conflict"


def test_a_queued_job_is_paused_and_resumed(client, doorbell, job):
    paused = client.post(f"/v1/jobs/{job['id']}/pause")
    resumed = client.post(f"/v1/jobs/{job['id']}/resume")

    assert [answer.status_code for answer in (paused, resumed)] == [202, 202]
    assert [answer.json()["status"] for answer in (paused, resumed)] == ["paused", "queued"]
    assert doorbell.rung == [job["id"]]


def test_a_running_job_is_asked_to_pause(client, backends, worker, job):
    claim = worker.claim(job["id"])

    answer = client.post(f"/v1/jobs/{job['id']}/pause")

    assert answer.json()["status"] == "running"
    assert backends.store.heartbeat(claim, lease=LEASE) is Wish.PAUSE


@pytest.mark.parametrize("call", ["pause", "resume"])
def test_a_finished_job_is_neither_paused_nor_resumed(client, worker, job, call):
    worker.succeed(job["id"])

    answer = client.post(f"/v1/jobs/{job['id']}/{call}")

    assert answer.status_code == 409
    assert answer.json()["code"] == "job_conflict"


def test_a_job_that_is_cancelled_while_it_is_paused_leaves_no_checkpoint(
    client, backends, tmp_path, job
):
    client.post(f"/v1/jobs/{job['id']}/pause")
    (tmp_path / "checkpoint").write_bytes(b"weights")
    backends.files.put(checkpoint_key(job["id"], 1, 5), tmp_path / "checkpoint")

    client.post(f"/v1/jobs/{job['id']}/cancel")

    assert list((tmp_path / "files").rglob("checkpoints/*")) == []


def test_a_finished_job_is_deleted_with_all_its_files(client, worker, tmp_path, job):
    worker.succeed(job["id"])

    answer = client.delete(f"/v1/jobs/{job['id']}")

    assert answer.status_code == 204
    assert client.get(f"/v1/jobs/{job['id']}").status_code == 404
    assert [path for path in (tmp_path / "files").rglob("*") if path.is_file()] == []


def test_an_unfinished_job_cannot_be_deleted(client, job):
    answer = client.delete(f"/v1/jobs/{job['id']}")

    assert answer.status_code == 409


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/events"),
        ("GET", "/metrics"),
        ("GET", "/artifacts"),
        ("GET", "/artifacts/model.keras"),
        ("POST", "/cancel"),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("DELETE", ""),
    ],
)
def test_a_job_that_does_not_exist_is_a_404(client, method, path):
    answer = client.request(method, f"/v1/jobs/job_unknown{path}")

    assert answer.status_code == 404
    assert answer.json()["code"] == "job_not_found"


def test_the_metrics_are_columns(client, worker, job):
    worker.train(worker.claim(job["id"]))

    metrics = client.get(f"/v1/jobs/{job['id']}/metrics").json()

    assert metrics == {"steps": {"step": [1, 2], "loss": [0.5, 0.25]}, "epochs": {}}


def test_preflight_says_what_a_job_would_do_and_stores_nothing(client, doorbell, model, data):
    answer = client.submit(model, data, HALF, path="/v1/jobs/preflight")

    plan = answer.json()
    assert answer.status_code == 200
    assert plan["spec"]["schedule"]["target_sparsity"] == 0.5
    assert plan["total_steps"] == 2 * 8
    assert client.get("/v1/jobs").json()["jobs"] == []
    assert doorbell.rung == []


def test_preflight_refuses_what_submitting_refuses(client, model):
    answer = client.submit(model, spec={"schedul": {}}, path="/v1/jobs/preflight")

    assert answer.status_code == 422


def test_the_job_says_how_long_it_is_kept(backends, calling, model, data):
    with calling(replace(backends, retention_seconds=3600)) as client:
        jobs = [
            client.submit(model, data, {"retention_seconds": asked}).json() for asked in (9999, 60)
        ]

    assert [job["spec"]["retention_seconds"] for job in jobs] == [3600, 60]


@pytest.mark.parametrize(("going", "status"), [(["model"], 404), ([], 200)])
def test_a_stored_model_goes_with_the_job_that_says_so(client, model, going, status):
    stored = client.post("/v1/models", files={"model": model}).json()["id"]
    order = {"model_id": stored, "spec": HALF, "going_with_job": going}
    job = client.post("/v1/jobs", json=order).json()["id"]

    client.post(f"/v1/jobs/{job}/cancel")
    client.delete(f"/v1/jobs/{job}")

    assert client.get(f"/v1/models/{stored}").status_code == status


def test_what_cannot_go_with_a_job_is_refused(client, model):
    stored = client.post("/v1/models", files={"model": model}).json()["id"]
    order = {"model_id": stored, "spec": HALF, "going_with_job": ["service"]}

    answer = client.post("/v1/jobs", json=order)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/going_with_job/0"
