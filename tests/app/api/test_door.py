"""Who may come in, and what each finds: asked of every route that the service describes."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest

from app.api.application import create_app
from app.api.rates import RateLimit
from app.jobs.quotas import Quota

OPEN = {"/livez", "/readyz"}
#: The operator's; a tenant's key opens it no more than none.
METRICS = "/metrics"
#: Those that name nothing which could be another tenant's but in their body, or list things.
WITHOUT_IDS = {
    ("post", "/v1/jobs"),
    ("get", "/v1/jobs"),
    ("get", "/v1/webhook-secret"),
    ("post", "/v1/jobs/preflight"),
    ("post", "/v1/models"),
    ("post", "/v1/datasets"),
    ("post", "/v1/uploads"),
    ("options", "/v1/uploads"),
}
#: What an upload in pieces is asked with; nothing else minds.
TUS = {
    "Tus-Resumable": "1.0.0",
    "Upload-Offset": "0",
    "Content-Type": "application/offset+octet-stream",
}
SENDERS = 50


@contextmanager
def never_opened():
    raise AssertionError
    yield


ROUTES = [
    (method, path)
    for path, operations in create_app(never_opened).openapi()["paths"].items()
    for method in operations
    if path not in {*OPEN, METRICS}
]


@pytest.fixture
def key(backends):
    return backends.keys.create("ours")


@pytest.fixture
def ours(backends, key, calling):
    with calling(backends, Authorization=f"Bearer {key}") as client:
        yield client


@pytest.fixture
def theirs(backends, calling):
    with calling(backends, Authorization=f"Bearer {backends.keys.create('theirs')}") as client:
        yield client


@pytest.fixture
def of_them(theirs, worker, model, data):
    """Everything that the other tenant has, by the name of the parameter that would ask for it."""
    job = theirs.submit(model, data).json()
    worker.succeed(job["id"])
    # "model" in base64.
    metadata = {"Upload-Length": "1", "Upload-Metadata": "kind bW9kZWw="}
    begun = theirs.post("/v1/uploads", headers={**TUS, **metadata})
    return {
        "job_id": job["id"],
        "model_id": job["model"]["id"],
        "dataset_id": job["dataset"]["id"],
        "upload_id": begun.headers["Location"].rpartition("/")[2],
        "name": "model.keras",
    }


def status(answer):
    return answer.status_code, answer.json()["code"]


@pytest.mark.usefixtures("key")
def test_no_route_lets_anybody_in_without_a_key(client):
    answers = {
        (method, path): client.request(method, path.format_map(AnyId())) for method, path in ROUTES
    }

    assert {status(answer) for answer in answers.values()} == {(401, "key_required")}
    assert {answer.headers["WWW-Authenticate"] for answer in answers.values()} == {
        'Bearer realm="espalier"'
    }
    assert len(answers) > 15


class AnyId(dict):
    def __missing__(self, name):
        return f"{name}_1"


def test_no_route_tells_that_a_thing_of_another_tenant_exists(ours, theirs, of_them):
    asking = [(method, path) for method, path in ROUTES if (method, path) not in WITHOUT_IDS]
    asking += [("head", path) for _, path in asking if path.endswith(("{name}", "{upload_id}"))]

    answers = {
        (method, path): ours.request(method, path.format_map(of_them), headers=TUS).status_code
        for method, path in asking
    }

    assert set(answers.values()) == {404}
    assert theirs.get(f"/v1/jobs/{of_them['job_id']}").json()["status"] == "succeeded"
    assert theirs.get(f"/v1/models/{of_them['model_id']}").status_code == 200


def test_the_routes_without_ids_are_known():
    assert {(method, path) for method, path in ROUTES if "{" not in path} == WITHOUT_IDS


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/preflight"])
def test_no_order_reaches_another_tenants_files(ours, of_them, model, path):
    own = ours.post("/v1/models", files={"model": ("m.keras", model)}).json()["id"]

    on_their_model = ours.post(path, json={"model_id": of_them["model_id"]})
    on_their_data = ours.post(path, json={"model_id": own, "dataset_id": of_them["dataset_id"]})

    assert status(on_their_model) == (404, "model_not_found")
    assert status(on_their_data) == (404, "dataset_not_found")


@pytest.mark.usefixtures("of_them")
def test_no_list_shows_another_tenants_jobs(ours):
    assert ours.get("/v1/jobs").json() == {"jobs": [], "next_cursor": None}


def test_the_cursor_of_another_tenant_shows_nothing_of_theirs(ours, theirs, model):
    for _ in range(2):
        theirs.submit(model)
    cursor = theirs.get("/v1/jobs", params={"limit": 1}).json()["next_cursor"]

    assert ours.get("/v1/jobs", params={"after": cursor}).json()["jobs"] == []


def test_an_idempotency_key_is_a_tenants_own(ours, theirs, model):
    first, second = (client.submit(model, **{"Idempotency-Key": "k"}) for client in (ours, theirs))

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] != second.json()["id"]


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("path", ["/livez", "/readyz", "/openapi.json", "/docs"])
def test_probes_and_documentation_are_open(client, path):
    assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    "spoilt",
    [
        pytest.param(lambda key: f"Bearer {key[:-1]}", id="cut"),
        pytest.param(lambda key: f"Bearer {key}x", id="longer"),
        pytest.param(lambda _: "Bearer esp_0123456789ab_" + "0" * 64, id="never made"),
        pytest.param(lambda key: f"Bearer {key} {key}", id="twice"),
    ],
)
def test_a_key_that_opens_nothing_is_a_401(client, key, spoilt):
    answer = client.get("/v1/jobs", headers={"Authorization": spoilt(key)})

    assert status(answer) == (401, "invalid_key")
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("scheme", ["Basic", "Token"])
def test_a_key_is_shown_as_bearer(client, key, scheme):
    answer = client.get("/v1/jobs", headers={"Authorization": f"{scheme} {key}"})

    assert status(answer) == (401, "key_required")


def test_a_revoked_key_opens_nothing_from_the_next_request_on(ours, backends, key):
    assert ours.get("/v1/jobs").status_code == 200

    backends.keys.revoke(key.split("_")[1])

    assert status(ours.get("/v1/jobs")) == (401, "invalid_key")


def test_the_description_says_which_routes_need_a_key(client):
    schema = client.get("/openapi.json").json()

    assert schema["components"]["securitySchemes"]["api_key"]["scheme"] == "bearer"
    opened_by = {METRICS: [{"metrics_token": []}]} | {path: [] for path in OPEN}
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            assert operation.get("security", []) == opened_by.get(path, [{"api_key": []}])
            assert path in OPEN or {"401", "429"} <= set(operation["responses"])


def test_a_key_is_in_no_log_and_no_answer(ours, client, key, model, caplog):
    caplog.set_level(logging.DEBUG)
    secret = key.split("_")[2]

    answers = [
        ours.submit(model),
        ours.submit(b"no model"),
        ours.get("/v1/jobs/unknown"),
        ours.get("/v1/jobs", params={"limit": "x"}),
        ours.post("/v1/jobs", json={"unknown": 1}),
        client.get("/v1/jobs", headers={"Authorization": f"Bearer {key}0"}),
        client.get("/v1/jobs", headers={"Authorization": key}),
    ]

    told = caplog.text + "".join(answer.text + str(answer.headers) for answer in answers)
    assert secret[:16] not in told


class TestWithoutAnyKey:
    """A service that has never had a key."""

    @pytest.mark.parametrize(
        "host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "127.0.0.2", "LOCALHOST"]
    )
    def test_the_machine_itself_comes_in(self, client, host):
        assert client.get("/v1/jobs", headers={"Host": host}).status_code == 200

    @pytest.mark.parametrize(
        "headers",
        [
            pytest.param({"Host": "evil.example:8000"}, id="name made to lead here"),
            pytest.param({"Host": ""}, id="no name"),
            pytest.param({"Host": "127.0.0.1.evil.example"}, id="name like an address"),
            pytest.param({"Origin": "https://evil.example"}, id="page of another host"),
            pytest.param({"Origin": "http://127.0.0.1:9000"}, id="page of another port"),
            pytest.param({"Origin": "null"}, id="page without a host"),
            pytest.param({"Origin": "http://[evil"}, id="page of no host at all"),
            pytest.param({"Host": "[evil"}, id="name that is none"),
        ],
    )
    def test_a_page_of_another_host_stays_out(self, client, headers):
        answer = client.post("/v1/jobs", json={"model_id": "mdl_1"}, headers=headers)

        assert status(answer) == (401, "key_required")

    def test_a_page_of_the_service_itself_comes_in(self, client):
        answer = client.get("/v1/jobs", headers={"Origin": "http://127.0.0.1:8000"})

        assert answer.status_code == 200

    @pytest.mark.parametrize("address", ["192.0.2.1", "0.0.0.0", "espalier.example"])  # noqa: S104
    def test_who_comes_over_the_network_stays_out(self, backends, calling, address):
        with calling(backends, base_url=f"http://{address}", Host="127.0.0.1") as stranger:
            assert status(stranger.get("/v1/jobs")) == (401, "key_required")

    def test_a_key_that_was_never_made_is_refused_all_the_same(self, client):
        answer = client.get("/v1/jobs", headers={"Authorization": "Bearer esp_made_up"})

        assert status(answer) == (401, "invalid_key")

    def test_the_first_key_closes_the_door_even_when_it_is_revoked(self, client, backends):
        assert client.get("/v1/jobs").status_code == 200

        backends.keys.revoke(backends.keys.create("ours").split("_")[1])

        assert status(client.get("/v1/jobs")) == (401, "key_required")


class TestHowMuch:
    def test_one_request_too_many_says_when_to_come_again(self, backends, key, calling):
        few = replace(backends, rate_limit=RateLimit(2))
        with calling(few, Authorization=f"Bearer {key}") as ours:
            answers = [ours.get("/v1/jobs") for _ in range(3)]
            other = few.keys.create("theirs")
            of_another = ours.get("/v1/jobs", headers={"Authorization": f"Bearer {other}"})

        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[2].json()["code"] == "too_many_requests"
        assert 1 <= int(answers[2].headers["Retry-After"]) <= 60
        assert of_another.status_code == 200

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param({}, id="nothing"),
            pytest.param({"Authorization": "Bearer esp_000000000000_" + "1" * 64}, id="the key"),
            pytest.param({"Authorization": "Bearer x"}, id="its form"),
            pytest.param({"Authorization": ""}, id="to none"),
            pytest.param({"X-Forwarded-For": "192.0.2.7", "Forwarded": "for=192.0.2.7"}, id="from"),
        ],
    )
    def test_too_many_wrong_keys_are_told_to_wait_whatever_is_changed_about_them(
        self, backends, key, calling, change
    ):
        few = replace(backends, rate_limit=RateLimit(2))
        wrong = {"Authorization": f"Bearer {key}0"}
        with calling(few) as stranger:
            for _ in range(2):
                assert status(stranger.get("/v1/jobs", headers=wrong)) == (401, "invalid_key")

            answer = stranger.get("/v1/jobs", headers=wrong | change)

        assert status(answer) == (429, "too_many_requests")
        assert int(answer.headers["Retry-After"]) > 0

    def test_who_has_a_key_never_waits_for_those_who_have_none(self, backends, key, calling):
        few = replace(backends, rate_limit=RateLimit(2))
        with calling(few) as client:
            for _ in range(3):
                client.get("/v1/jobs")

            answer = client.get("/v1/jobs", headers={"Authorization": f"Bearer {key}"})

        assert answer.status_code == 200

    def test_who_has_too_many_jobs_is_told_to_come_again(self, backends, calling, model):
        busy = replace(backends, quota=Quota(stored_bytes=10**9, unfinished_jobs=1))
        with calling(busy) as client:
            first, second = client.submit(model), client.submit(model)

        assert first.status_code == 202
        assert status(second) == (429, "job_quota_exceeded")
        assert int(second.headers["Retry-After"]) > 0

    def test_who_has_no_room_stores_nothing(self, backends, calling, model, data, tmp_path):
        full = replace(backends, quota=Quota(stored_bytes=len(model), unfinished_jobs=9))
        with calling(full) as client:
            answer = client.submit(model, data)
            fits = client.submit(model)

        assert status(answer) == (413, "storage_quota_exceeded")
        assert fits.status_code == 202
        assert len([path for path in (tmp_path / "files").rglob("*") if path.is_file()]) == 1

    @pytest.mark.parametrize(
        ("path", "quota", "refusal"),
        [
            ("/v1/models", Quota(stored_bytes=10, unfinished_jobs=9), 413),
            ("/v1/datasets", Quota(stored_bytes=10, unfinished_jobs=9), 413),
            ("/v1/jobs", Quota(stored_bytes=10, unfinished_jobs=9), 413),
            ("/v1/jobs", Quota(stored_bytes=10**12, unfinished_jobs=0), 429),
        ],
    )
    def test_who_has_no_room_is_told_before_sending(self, backends, path, quota, refusal):
        assert unread_answer(replace(backends, quota=quota), path) == refusal

    def test_who_has_no_key_is_told_before_sending(self, backends, key):
        assert key
        assert unread_answer(backends, "/v1/jobs") == 401


def unread_answer(backends, path):
    """Post a large form to ``path``; return the status, and fail when the body is asked for."""
    sent = []

    async def receive():
        raise AssertionError

    async def send(message):
        sent.append(message)

    headers = {
        "host": "127.0.0.1",
        "content-type": "multipart/form-data; boundary=b",
        "content-length": str(100_000_000),
    }
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "server": ("127.0.0.1", 8000),
        "state": {"backends": backends},
    }
    asyncio.run(create_app(never_opened)(scope, receive, send))
    return sent[0]["status"]


def test_many_posts_at_once_with_one_idempotency_key_are_one_job(ours, doorbell, model):
    order = {"model_id": ours.post("/v1/models", files={"model": ("m", model)}).json()["id"]}

    def post(_):
        return ours.post("/v1/jobs", json=order, headers={"Idempotency-Key": "k"})

    with ThreadPoolExecutor(SENDERS) as senders:
        answers = list(senders.map(post, range(SENDERS)))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(doorbell.rung) == 1
    assert len(ours.get("/v1/jobs").json()["jobs"]) == 1
