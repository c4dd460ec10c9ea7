"""Uploads in pieces, as the protocol has them and as connections break."""

import base64
import hashlib
import socket
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx2
import numpy as np
import pytest
from sqlalchemy import select
from tusclient.client import TusClient
from tusclient.exceptions import TusUploadFailed

from app.jobs.artifacts import ArtifactStore
from app.jobs.database import reading
from app.jobs.quotas import Quota
from app.jobs.tables import audit
from tests.app.api.conftest import DATA, npz

TUS = {"Tus-Resumable": "1.0.0"}
SMALL = DATA / "small.keras"
PIECE = {**TUS, "Content-Type": "application/offset+octet-stream"}
_PATIENCE_SECONDS = 60


def metadata(**said):
    pairs = (f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in said.items())
    return ",".join(pairs)


def begin(client, size, **said):
    """Announce a file of so many bytes; return where its pieces go."""
    said = said or {"kind": "model", "filename": "m.keras"}
    headers = {**TUS, "Upload-Length": str(size), "Upload-Metadata": metadata(**said)}
    answer = client.post("/v1/uploads", headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.headers["Location"]


def send(client, upload, offset, piece, **headers):
    headers = {**PIECE, "Upload-Offset": str(offset), **headers}
    return client.patch(upload, content=piece, headers=headers)


def reached(client, upload):
    return int(client.head(upload, headers=TUS).headers["Upload-Offset"])


def code(answer):
    return answer.status_code, answer.json()["code"]


def checksum(piece, algorithm="sha1"):
    digest = hashlib.new(algorithm, piece).digest()
    return {"Upload-Checksum": f"{algorithm} {base64.b64encode(digest).decode()}"}


@pytest.fixture
def files(tmp_path):
    """Every file that the service keeps, and those that it is being sent."""
    return lambda: [path for path in (tmp_path / "files").rglob("*") if path.is_file()]


@pytest.fixture
def half(client, model):
    """An upload of which the first half has come, and the half that it lacks."""
    upload, middle = begin(client, len(model)), len(model) // 2
    send(client, upload, 0, model[:middle])
    return upload, middle, model[middle:]


def test_the_service_says_what_it_speaks(client):
    answer = client.options("/v1/uploads")

    assert answer.status_code == 204
    said = {name: answer.headers[name] for name in ("Tus-Version", "Tus-Extension")}
    assert said == {
        "Tus-Version": "1.0.0",
        "Tus-Extension": "creation,termination,checksum,expiration",
    }
    assert answer.headers["Tus-Max-Size"] == "200000"
    assert answer.headers["Tus-Checksum-Algorithm"] == "sha1,sha256,sha512"


def test_a_file_that_comes_in_pieces_becomes_the_model_of_the_same_id(client, model, half):
    upload, middle, rest = half

    assert reached(client, upload) == middle
    assert send(client, upload, middle, rest).headers["Upload-Offset"] == str(len(model))

    stored = client.get(upload.replace("uploads", "models")).json()
    assert stored["sha256"] == hashlib.sha256(model).hexdigest()
    assert (stored["filename"], stored["bytes"]) == ("m.keras", len(model))


@pytest.mark.parametrize(
    ("said", "becomes"),
    [
        ({"kind": "model", "filename": "any.thing"}, "mdl"),
        ({"kind": "dataset"}, "dat"),
        ({"filename": "CNN.Keras"}, "mdl"),
        ({"filename": "old.h5"}, "mdl"),
        ({"filename": "train.npz"}, "dat"),
    ],
)
def test_what_it_becomes_is_said_or_seen_from_its_name(client, said, becomes):
    assert begin(client, 10, **said).startswith(f"/v1/uploads/{becomes}_")


def test_a_dataset_comes_in_pieces_too(client, data):
    upload = begin(client, len(data), kind="dataset", filename="t.npz")

    send(client, upload, 0, data[:1000])
    send(client, upload, 1000, data[1000:])

    assert client.get(upload.replace("uploads", "datasets")).json()["train_samples"] == 1000


def test_an_upload_says_how_far_it_is(client, half):
    upload, middle, rest = half

    answer = client.head(upload, headers=TUS)

    assert answer.status_code == 200
    assert answer.headers["Upload-Offset"] == str(middle)
    assert answer.headers["Upload-Length"] == str(middle + len(rest))
    assert answer.headers["Upload-Metadata"] == metadata(kind="model", filename="m.keras")
    assert answer.headers["Cache-Control"] == "no-store"
    left = parsedate_to_datetime(answer.headers["Upload-Expires"]) - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(days=1)


def test_one_that_is_whole_stays_so_whoever_asks_again(client, half):
    upload, middle, rest = half
    send(client, upload, middle, rest)
    whole = middle + len(rest)

    assert reached(client, upload) == whole
    assert send(client, upload, whole, b"").status_code == 204
    assert code(send(client, upload, 0, b"x")) == (409, "wrong_offset")


def test_who_missed_the_answer_to_the_last_piece_hears_it_with_the_last_byte(
    client, services, model
):
    upload = begin(client, len(model))
    key = upload.removeprefix("/v1/")
    killed = services.files.growing(key)
    killed.append(model)
    killed.close()

    assert reached(client, upload) == len(model) - 1
    assert send(client, upload, len(model) - 1, model[-1:]).status_code == 204

    stored = client.get(upload.replace("uploads", "models")).json()
    assert stored["sha256"] == hashlib.sha256(model).hexdigest()


def test_a_piece_that_begins_elsewhere_is_refused(client, half):
    upload, middle, _ = half

    answers = [send(client, upload, offset, b"x") for offset in (middle - 1, middle + 1)]

    assert {code(answer) for answer in answers} == {(409, "wrong_offset")}
    assert reached(client, upload) == middle


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
def test_a_piece_that_is_not_what_its_checksum_says_does_not_count(client, half, algorithm):
    upload, middle, rest = half

    wrong = send(client, upload, middle, rest, **checksum(b"another", algorithm))
    assert code(wrong) == (460, "wrong_checksum")
    assert reached(client, upload) == middle

    assert send(client, upload, middle, rest, **checksum(rest, algorithm)).status_code == 204


def test_a_piece_that_is_not_what_its_digest_says_does_not_count(client, half):
    upload, middle, rest = half
    digest = base64.b64encode(hashlib.sha256(b"another").digest()).decode()

    answer = send(client, upload, middle, rest, **{"Content-Digest": f"sha-256=:{digest}:"})

    assert code(answer) == (400, "wrong_digest")
    assert reached(client, upload) == middle


@pytest.mark.parametrize("value", ["crc32 AAAA", "sha1", "sha1 ?", "sha1 "])
def test_a_checksum_that_cannot_be_checked_is_refused(client, half, value):
    upload, middle, rest = half

    answer = send(client, upload, middle, rest, **{"Upload-Checksum": value})

    assert code(answer) == (400, "malformed_request")


def test_a_whole_file_that_cannot_be_taken_is_refused_and_gone(client, files):
    upload = begin(client, 8)
    send(client, upload, 0, b"no m")

    answer = send(client, upload, 4, b"odel")

    assert code(answer) == (415, "not_a_model")
    assert client.head(upload, headers=TUS).status_code == 404
    assert files() == []


def test_data_that_cannot_be_taken_are_refused_as_in_one_piece(client, files):
    answer = send(client, begin(client, 4, kind="dataset"), 0, b"none")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/data"
    assert files() == []


def test_one_that_is_withdrawn_is_gone(client, half, files):
    upload, middle, rest = half

    assert client.delete(upload, headers=TUS).status_code == 204

    assert code(send(client, upload, middle, rest)) == (404, "upload_not_found")
    assert files() == []


@pytest.mark.parametrize(("kind", "most"), [("model", 100_000), ("dataset", 200_000)])
def test_a_file_larger_than_the_operator_allows_is_refused_at_once(client, kind, most):
    headers = {**TUS, "Upload-Metadata": metadata(kind=kind)}

    answer = client.post("/v1/uploads", headers={**headers, "Upload-Length": str(most + 1)})

    assert code(answer) == (413, "too_large")
    assert begin(client, most, kind=kind)


@pytest.mark.parametrize("as_stream", [False, True], ids=["declared", "not declared"])
def test_no_piece_is_longer_than_what_the_file_lacks(client, as_stream):
    upload = begin(client, 10)

    answer = send(client, upload, 0, iter([b"0123456789", b"x"]) if as_stream else b"x" * 11)

    assert code(answer) == (413, "too_large")


@pytest.mark.parametrize(
    ("headers", "pointer"),
    [
        ({"Upload-Length": "0"}, "/upload-length"),
        ({"Upload-Length": "-1"}, "/upload-length"),
        ({}, "/upload-length"),
        ({"Upload-Defer-Length": "1"}, "/upload-length"),
        ({"Upload-Length": "1", "Upload-Metadata": "kind"}, "/upload-metadata"),
        ({"Upload-Length": "1", "Upload-Metadata": "kind ?"}, "/upload-metadata"),
        ({"Upload-Length": "1", "Upload-Metadata": "kind /w=="}, "/upload-metadata"),
        ({"Upload-Length": "1", "Upload-Metadata": metadata(kind="x")}, "/upload-metadata"),
        ({"Upload-Length": "1"}, "/upload-metadata"),
        ({"Upload-Length": "1", "Upload-Metadata": "x" * 4097}, "/upload-metadata"),
    ],
)
def test_what_cannot_be_announced_is_refused_by_name(client, headers, pointer):
    answer = client.post("/v1/uploads", headers={**TUS, **headers})

    assert code(answer) == (422, "invalid_request")
    assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("version", [{}, {"Tus-Resumable": "0.2.2"}])
def test_another_version_is_refused_with_the_one_that_is_spoken(client, version):
    begun = client.post("/v1/uploads", headers={**version, "Upload-Length": "1"})
    asked = client.head("/v1/uploads/mdl_1", headers=version)

    assert code(begun) == (412, "unsupported_protocol")
    assert asked.status_code == 412
    assert begun.headers["Tus-Version"] == "1.0.0"


def test_every_answer_names_the_protocol(client, half):
    upload, middle, rest = half

    answers = [
        client.options("/v1/uploads"),
        client.head(upload, headers=TUS),
        client.head(upload),
        client.delete("/v1/uploads/mdl_none", headers=TUS),
        send(client, upload, 0, rest),
        send(client, upload, middle, rest),
    ]

    assert {answer.headers["Tus-Resumable"] for answer in answers} == {"1.0.0"}


def test_a_body_of_another_kind_is_no_piece(client, half):
    upload, middle, rest = half

    answer = send(client, upload, middle, rest, **{"Content-Type": "application/octet-stream"})

    assert code(answer) == (415, "unsupported_content_type")


def test_announced_bytes_are_taken_until_they_are_withdrawn(backends, calling, model):
    narrow = replace(backends, quota=Quota(stored_bytes=len(model) + 10, unfinished_jobs=1))
    with calling(narrow) as client:
        upload = begin(client, len(model))
        headers = {**TUS, "Upload-Length": "11", "Upload-Metadata": metadata(kind="model")}

        assert code(client.post("/v1/uploads", headers=headers)) == (413, "storage_quota_exceeded")
        assert send(client, upload, 0, model).status_code == 204
        assert code(client.post("/v1/uploads", headers=headers)) == (413, "storage_quota_exceeded")
        assert client.delete(upload.replace("uploads", "models")).status_code == 204
        assert client.post("/v1/uploads", headers=headers).status_code == 201


def test_with_a_full_disk_nothing_is_taken_and_what_has_come_stays(
    backends, calling, tmp_path, half
):
    upload, middle, rest = half
    full = ArtifactStore((tmp_path / "files").as_uri(), keep_free_bytes=2**62)
    headers = {**TUS, "Upload-Length": "10", "Upload-Metadata": metadata(kind="model")}
    with calling(replace(backends, files=full)) as client:
        assert code(client.post("/v1/uploads", headers=headers)) == (503, "storage_full")
        assert code(send(client, upload, middle, rest)) == (503, "storage_full")
        assert reached(client, upload) == middle


def test_nobody_elses_upload_is_there(backends, calling):
    ours, theirs = (backends.keys.create(tenant) for tenant in ("ours", "theirs"))
    with calling(backends, Authorization=f"Bearer {theirs}") as them:
        upload = begin(them, 10)
    with calling(backends, Authorization=f"Bearer {ours}") as us:
        assert us.head(upload, headers=TUS).status_code == 404
        assert code(send(us, upload, 0, b"x")) == (404, "upload_not_found")
        assert code(us.delete(upload, headers=TUS)) == (404, "upload_not_found")


def test_while_another_process_has_it_open_it_is_busy(client, services, half):
    upload, middle, rest = half
    elsewhere = services.files.growing(upload.removeprefix("/v1/"))

    answer = send(client, upload, middle, rest)

    assert code(answer) == (423, "upload_busy")
    assert answer.headers["Retry-After"] == "1"
    elsewhere.close()
    assert send(client, upload, middle, rest).status_code == 204


def test_what_is_begun_added_and_withdrawn_is_in_the_audit(client, services, model):
    one, other = begin(client, len(model)), begin(client, 10)
    send(client, one, 0, model)
    client.delete(other, headers=TUS)

    with reading(services.store._engine) as connection:
        noted = connection.execute(select(audit.c.action, audit.c.subject)).all()
    first, second = (upload.rpartition("/")[2] for upload in (one, other))
    assert noted == [
        ("upload_begun", first),
        ("upload_begun", second),
        ("model_added", first),
        ("upload_deleted", second),
    ]


@pytest.fixture(scope="module")
def large():
    """A dataset of more than a megabyte."""
    chance = np.random.default_rng(0)
    return npz(x_train=chance.random((40_000, 8), "float32"), y_train=np.zeros(40_000, int))


class TestOverAConnection:
    """With the real HTTP server, whose bodies come from sockets."""

    @pytest.fixture
    def far(self, served):
        with httpx2.Client(base_url=served.address, timeout=_PATIENCE_SECONDS) as client:
            yield client

    @contextmanager
    def sending(self, served, upload, size, piece):
        """Begin to send a piece of so many bytes, and stop after the first few."""
        host, _, port = served.address.removeprefix("http://").partition(":")
        head = {**PIECE, "Host": f"{host}:{port}", "Upload-Offset": "0", "Content-Length": size}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        with socket.create_connection((host, int(port)), _PATIENCE_SECONDS) as sender:
            sender.sendall(f"PATCH {upload} HTTP/1.1\r\n{lines}\r\n".encode() + piece)
            yield

    def wait_for_bytes(self, served, upload):
        """Return when something of the piece has been written."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while served.backends.files.grown(upload.removeprefix("/v1/")) == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def test_what_came_before_a_cut_stays(self, served, far, large):
        upload = begin(far, len(large), kind="dataset")
        with self.sending(served, upload, len(large), large[:800_000]):
            self.wait_for_bytes(served, upload)

        place = reached(far, upload)
        assert 0 < place <= 800_000
        assert send(far, upload, place, large[place:]).status_code == 204

        stored = far.get(upload.replace("uploads", "datasets")).json()
        assert stored["sha256"] == hashlib.sha256(large).hexdigest()

    def test_who_comes_back_is_not_kept_waiting_by_a_connection_that_nobody_holds(
        self, served, far, large
    ):
        upload = begin(far, len(large), kind="dataset")
        with self.sending(served, upload, len(large), large[:800_000]):
            self.wait_for_bytes(served, upload)

            place = reached(far, upload)
            answer = send(far, upload, place, large[place:])

        assert answer.status_code == 204
        stored = far.get(upload.replace("uploads", "datasets")).json()
        assert stored["sha256"] == hashlib.sha256(large).hexdigest()

    def test_a_piece_with_a_checksum_counts_whole_or_not_at_all(self, served, far, large):
        upload = begin(far, len(large), kind="dataset")
        with self.sending(
            served, upload, f"{len(large)}\r\nUpload-Checksum: sha1 AAAA", large[:800_000]
        ):
            self.wait_for_bytes(served, upload)

        assert reached(far, upload) == 0

    @pytest.fixture
    def uploader(self, served):
        """Return a function that makes an uploader of the public client for a file."""
        with ExitStack() as files:

            def make(path, **options):
                said = {"filename": path.name}
                # Given a path, the client leaves the file open.
                stream = files.enter_context(path.open("rb"))
                service = TusClient(f"{served.address}/v1/uploads")
                return service.uploader(file_stream=stream, metadata=said, **options)

            yield make

    @pytest.mark.parametrize("is_checked", [False, True], ids=["plain", "checksum"])
    def test_a_public_client_sends_a_model(self, far, uploader, is_checked):
        sender = uploader(SMALL, chunk_size=5000, upload_checksum=is_checked)

        sender.upload()

        stored = far.get(sender.url.replace("uploads", "models")).json()
        assert stored["sha256"] == hashlib.sha256(SMALL.read_bytes()).hexdigest()

    def test_a_public_client_goes_on_where_it_stopped(self, far, uploader):
        first = uploader(SMALL, chunk_size=5000)
        first.upload(stop_at=10_000)

        second = uploader(SMALL, chunk_size=5000, url=first.url)
        assert second.offset == 10_000
        second.upload()

        stored = far.get(first.url.replace("uploads", "models")).json()
        assert stored["bytes"] == SMALL.stat().st_size

    def test_a_public_client_hears_why_a_file_is_refused(self, uploader, tmp_path):
        path = tmp_path / "none.keras"
        path.write_bytes(b"no model")

        with pytest.raises(TusUploadFailed) as caught:
            uploader(path).upload()

        assert caught.value.status_code == 415
        assert b"not_a_model" in caught.value.response_content
