"""What ``/docs`` and ``/openapi.json`` say."""

import json
import re

import pytest
from fastapi.openapi.models import OpenAPI

from app.jobs.spec import parse_spec


@pytest.fixture
def schema(client):
    return client.get("/openapi.json").json()


def _operations(schema):
    return [
        operation
        for path in schema["paths"].values()
        for operation in path.values()
        if isinstance(operation, dict)
    ]


def _references(value):
    if isinstance(value, dict):
        yield from ([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _references(item)


def _order_forms(schema):
    for path in ("/v1/jobs", "/v1/jobs/preflight"):
        content = schema["paths"][path]["post"]["requestBody"]["content"]
        yield content["multipart/form-data"]["schema"]


def test_the_schema_is_openapi(schema):
    read = OpenAPI.model_validate(schema)

    assert read.openapi.startswith("3.1")
    assert len(read.paths) == len(schema["paths"])


def test_every_reference_leads_somewhere(schema):
    for reference in set(_references(schema)):
        place = schema
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def test_every_operation_has_a_name_of_its_own_and_words(schema):
    operations = _operations(schema)

    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z_]+", name) for name in names)
    assert all(operation["description"] and operation["tags"] for operation in operations)


def test_every_call_of_the_contract_is_there(schema):
    calls = {(method.upper(), path) for path, item in schema["paths"].items() for method in item}

    assert calls == {
        ("POST", "/v1/jobs"),
        ("GET", "/v1/jobs"),
        ("POST", "/v1/jobs/preflight"),
        ("GET", "/v1/jobs/{job_id}"),
        ("DELETE", "/v1/jobs/{job_id}"),
        ("POST", "/v1/jobs/{job_id}/cancel"),
        ("POST", "/v1/jobs/{job_id}/pause"),
        ("POST", "/v1/jobs/{job_id}/resume"),
        ("GET", "/v1/jobs/{job_id}/events"),
        ("GET", "/v1/jobs/{job_id}/metrics"),
        ("GET", "/v1/jobs/{job_id}/deliveries"),
        ("GET", "/v1/jobs/{job_id}/report"),
        ("GET", "/v1/webhook-secret"),
        ("GET", "/v1/jobs/{job_id}/artifacts"),
        ("GET", "/v1/jobs/{job_id}/artifacts/{name}"),
        ("POST", "/v1/models"),
        ("GET", "/v1/models/{model_id}"),
        ("DELETE", "/v1/models/{model_id}"),
        ("POST", "/v1/datasets"),
        ("GET", "/v1/datasets/{dataset_id}"),
        ("DELETE", "/v1/datasets/{dataset_id}"),
        ("OPTIONS", "/v1/uploads"),
        ("POST", "/v1/uploads"),
        ("PATCH", "/v1/uploads/{upload_id}"),
        ("DELETE", "/v1/uploads/{upload_id}"),
        ("GET", "/livez"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
    }


def test_every_refusal_is_described_as_a_problem(schema):
    refusals = [
        answer
        for operation in _operations(schema)
        for status, answer in operation["responses"].items()
        if status[0] in "45"
    ]

    assert refusals
    assert all(list(answer["content"]) == ["application/problem+json"] for answer in refusals)


def test_every_example_of_a_spec_is_accepted(client, schema, model, data):
    examples = next(iter(_order_forms(schema)))["properties"]["spec"]["examples"]
    order = {
        "model_id": client.post("/v1/models", files={"model": ("m", model)}).json()["id"],
        "dataset_id": client.post("/v1/datasets", files={"data": ("d", data)}).json()["id"],
    }

    assert len(examples) > 3
    for example in examples:
        spec = {**json.loads(example), "layers": []}  # this model lacks the layers that they name
        answer = client.post("/v1/jobs/preflight", json={**order, "spec": spec})
        assert answer.status_code == 200, answer.text
        assert parse_spec(example)


def test_the_documentation_loads_nothing_from_other_hosts(client):
    page = client.get("/docs")

    assert page.status_code == 200
    assert not re.findall(r"https?://[^\s\"']+", page.text)
    assets = re.findall(r"(?:src|href)=\"([^\"]+)\"", page.text)
    assert len(assets) == 3
    # Left to itself, Swagger UI shows the schema to a validator of its own.
    assert '"validatorUrl": null' in page.text
    for asset in assets:
        assert client.get(asset).status_code == 200
