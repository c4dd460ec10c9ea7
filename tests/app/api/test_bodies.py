"""What holds for every body: it keeps coming, and it is the one that its digest names."""

import base64
import hashlib
import socket
import threading
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from app.jobs.tenants import LOCAL
from tests.app.conftest import listening

PATIENCE_SECONDS = 60


def digest(body, algorithm="sha-256"):
    raw = hashlib.new(algorithm.replace("-", ""), body).digest()
    return f"{algorithm}=:{base64.b64encode(raw).decode()}:"


@pytest.fixture
def form(model):
    """The bytes of a form with a model, as they travel."""
    head = b'--b\r\nContent-Disposition: form-data; name="model"; filename="m.keras"\r\n\r\n'
    return head + model + b"\r\n--b--\r\n"


@pytest.fixture
def upload(client, form):
    """Post the form with further headers."""

    def post(**headers):
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        return client.post("/v1/models", content=form, headers={**kind, **headers})

    return post


@pytest.fixture
def is_empty(services, tmp_path):
    """Say whether no file has been kept, and none is left where uploads arrive."""

    def look():
        kept = [path for path in (tmp_path / "files").rglob("*") if path.is_file()]
        return not kept and not list(services.incoming.iterdir())

    return look


@pytest.mark.parametrize("field", ["Content-Digest", "Repr-Digest"])
@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512"])
def test_a_body_with_its_digest_is_taken(upload, form, field, algorithm):
    assert upload(**{field: digest(form, algorithm)}).status_code == 201


@pytest.mark.parametrize("field", ["Content-Digest", "Repr-Digest"])
def test_a_body_with_another_digest_is_refused_and_not_stored(upload, form, is_empty, field):
    answer = upload(**{field: digest(form + b"x")})

    assert (answer.status_code, answer.json()["code"]) == (400, "wrong_digest")
    assert is_empty()


def test_of_several_digests_each_has_to_fit(upload, form):
    right, wrong = digest(form), digest(b"", "sha-512")

    assert upload(**{"Content-Digest": f"{right}, {wrong}"}).status_code == 400
    assert upload(**{"Content-Digest": right, "Repr-Digest": wrong}).status_code == 400
    assert upload(**{"Content-Digest": f"{right}, crc32c=:AAAAAA==:"}).status_code == 201


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="empty"),
        pytest.param("crc32c=:AAAAAA==:", id="no algorithm that is checked"),
        pytest.param("sha-256=AAAA", id="no byte sequence"),
        pytest.param("sha-256=:A:", id="no base64"),
        pytest.param("sha-256=:AAAA:, ", id="one too few"),
        pytest.param("sha-256", id="a name alone"),
    ],
)
def test_a_digest_that_cannot_be_checked_is_refused(upload, is_empty, value):
    answer = upload(**{"Content-Digest": value})

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
    assert is_empty()


def test_the_digest_of_an_order_in_json_is_checked_too(client):
    body = b'{"model_id": "mdl_1"}'
    kind = {"Content-Type": "application/json"}

    right, wrong = (
        client.post("/v1/jobs", content=body, headers={**kind, "Content-Digest": digest(sent)})
        for sent in (body, b"{}")
    )

    assert right.json()["code"] == "model_not_found"
    assert wrong.json()["code"] == "wrong_digest"


@contextmanager
def connection_to(backends):
    """Serve, and yield a socket that is connected."""
    with listening(backends) as address:
        place = urlsplit(address)
        with socket.create_connection((place.hostname, place.port), PATIENCE_SECONDS) as connected:
            yield connected


@pytest.mark.parametrize(
    ("path", "kind", "beginning"),
    [
        ("/v1/models", "multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-"),
        ("/v1/jobs", "application/json", b'{"model_id": '),
        ("/v1/jobs", "application/json", b""),
    ],
)
def test_a_silent_sender_is_cut_off(backends, is_empty, path, kind, beginning):
    impatient = replace(backends, sender_silence_seconds=0.1)
    with connection_to(impatient) as sender:
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
        sender.sendall(f"{head}Content-Length: 1000\r\n\r\n".encode() + beginning)

        # It ends: the connection is closed, and not kept for what may come after all.
        answer = b"".join(iter(lambda: sender.recv(65_536), b""))

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"sender_silent"' in answer
    assert is_empty()


def test_who_waits_for_a_long_answer_is_not_silent(backends, job):
    """The stream of a queued job goes on for longer than a sender may be silent."""
    impatient = replace(backends, sender_silence_seconds=0.1)
    with connection_to(impatient) as reader:
        head = f"GET /v1/jobs/{job['id']}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        reader.sendall(f"{head}Accept: text/event-stream\r\n\r\n".encode())
        threading.Timer(0.5, backends.store.of(LOCAL).request_cancel, args=(job["id"],)).start()

        answer = b""
        while b"cancelled" not in answer:
            received = reader.recv(65_536)
            assert received, answer
            answer += received
