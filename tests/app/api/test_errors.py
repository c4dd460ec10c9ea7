import inspect

import pytest

from app.api import errors as api_errors
from app.api.errors import _KINDS
from app.jobs import errors as job_errors
from app.jobs.errors import JobError, LostClaimError
from app.jobs.tenant_store import TenantStore

MEMBERS = {"type", "title", "status", "detail", "code"}


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "code"),
    [
        pytest.param("GET", "/nowhere", {}, 404, "not_found", id="unknown path"),
        pytest.param("PUT", "/v1/jobs", {}, 405, "method_not_allowed", id="unknown method"),
        pytest.param("GET", "/v1/jobs/job_0", {}, 404, "job_not_found", id="unknown job"),
        pytest.param("GET", "/v1/jobs?limit=x", {}, 422, "invalid_request", id="parameter"),
        pytest.param(
            "POST",
            "/v1/jobs",
            {"content": b"x", "headers": {"Content-Type": "text/plain"}},
            415,
            "unsupported_content_type",
            id="neither form nor JSON",
        ),
        pytest.param(
            "POST",
            "/v1/jobs",
            {"content": b"{", "headers": {"Content-Type": "application/json"}},
            400,
            "malformed_request",
            id="broken JSON",
        ),
        pytest.param(
            "POST",
            "/v1/jobs",
            {"content": b"[" * 5000, "headers": {"Content-Type": "application/json"}},
            400,
            "malformed_request",
            id="JSON too deep",
        ),
        pytest.param(
            "POST",
            "/v1/jobs",
            {"content": b" " * 80_000, "headers": {"Content-Type": "application/json"}},
            413,
            "too_large",
            id="JSON too long",
        ),
        pytest.param(
            "POST",
            "/v1/jobs",
            {"files": {"model": ("m", bytes(100_001))}},
            413,
            "too_large",
            id="model too large",
        ),
        pytest.param(
            "POST",
            "/v1/jobs",
            {"headers": {"Content-Type": "multipart/form-data; boundary=b"}, "content": b"--b"},
            400,
            "malformed_request",
            id="broken form",
        ),
    ],
)
def test_every_refusal_is_problem_json(client, method, path, options, status, code):
    answer = client.request(method, path, **options)

    problem = answer.json()
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert set(problem) >= MEMBERS
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["type"].endswith(code)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        pytest.param({}, "/model_id", id="missing"),
        pytest.param({"model_id": 7}, "/model_id", id="wrong type"),
        pytest.param({"model_id": "m", "specs": {}}, "/specs", id="unknown"),
        pytest.param({"model_id": "m", "spec": "{}"}, "/spec", id="spec as text"),
        pytest.param(
            {"model_id": "m", "spec": {"training": {"epochs": 0}}}, "/training/epochs", id="in spec"
        ),
    ],
)
def test_a_json_order_is_refused_at_the_field(client, body, pointer):
    answer = client.post("/v1/jobs", json=body)

    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_a_form_without_its_model_is_refused_by_name(client, data):
    answer = client.submit(None, data)

    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {
            "pointer": "/model",
            "message": "the form must have a part model (curl: -F model=@path). Received: data",
        }
    ]


def test_a_method_that_a_path_has_not_names_all_that_it_has(client):
    allow = {
        path: client.patch(path).headers["Allow"]
        for path in (
            "/v1/jobs",
            "/v1/jobs/job_1",
            "/v1/jobs/preflight",
            "/v1/jobs/job_1/artifacts/model.keras",
        )
    }

    assert allow == {
        "/v1/jobs": "GET, POST",
        "/v1/jobs/job_1": "DELETE, GET",
        "/v1/jobs/preflight": "POST",
        "/v1/jobs/job_1/artifacts/model.keras": "GET, HEAD",
    }


def test_a_bug_is_a_500_that_says_nothing_of_the_inside(client, monkeypatch):
    def fail(_store, _job_id):
        message = "the password is swordfish"
        raise RuntimeError(message)

    monkeypatch.setattr(TenantStore, "job", fail)

    answer = client.get("/v1/jobs/job_1")

    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "internal_error"
    assert "swordfish" not in answer.text
    assert "Traceback" not in answer.text


def test_every_domain_error_has_a_place_in_the_table():
    defined = {
        error
        for module in (api_errors, job_errors)
        for _, error in inspect.getmembers(module, inspect.isclass)
        if issubclass(error, JobError | api_errors.RequestError | api_errors.NotReadyError)
        and not error.__subclasses__()
    }
    # Only a worker meets it.
    defined -= {LostClaimError}

    missing = {error for error in defined if not set(error.__mro__) & set(_KINDS)}

    assert not missing


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_an_idempotency_key_is_bounded(client, model, key):
    answer = client.submit(model, **{"Idempotency-Key": key})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/idempotency-key"
