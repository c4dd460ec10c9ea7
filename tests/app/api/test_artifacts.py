import base64
import gzip
import hashlib
import lzma
import secrets

import httpx2
import obstore
import pytest
import zstandard
from sqlalchemy import select

from app.jobs.artifacts import artifact_key
from app.jobs.database import reading
from app.jobs.formats import SUFFIXES
from app.jobs.result import ArtifactResult, Compressed
from app.jobs.tables import audit
from app.jobs.tenants import LOCAL
from app.settings import Settings
from espalier import Client
from espalier.downloads import download
from tests.app.conftest import listening

CONTENT = bytes(range(256)) * 20
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ETAG = f'"{SHA256}"'


@pytest.fixture
def url(worker, job):
    """Where the artifact of a finished job is."""
    worker.succeed(job["id"], CONTENT)
    return f"/v1/jobs/{job['id']}/artifacts/model.keras"


def test_the_list_says_what_can_be_downloaded(client, job, url):
    listed = client.get(f"/v1/jobs/{job['id']}/artifacts").json()

    assert listed == [
        {
            "name": "model.keras",
            "format": "keras",
            "bytes": len(CONTENT),
            "sha256": SHA256,
            "url": url,
        }
    ]


def test_the_list_is_empty_until_the_job_has_succeeded(client, job):
    assert client.get(f"/v1/jobs/{job['id']}/artifacts").json() == []


def test_a_download_is_the_file_under_its_name_with_its_digest(client, url):
    answer = client.get(url)

    assert answer.status_code == 200
    assert answer.content == CONTENT
    assert answer.headers["Content-Length"] == str(len(CONTENT))
    assert answer.headers["Content-Disposition"] == 'attachment; filename="model.keras"'
    assert answer.headers["ETag"] == ETAG
    digest = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    assert answer.headers["Repr-Digest"] == f"sha-256=:{digest}:"


class TestFromTheStoreItself:
    """Where the operator says at which address callers reach the bucket."""

    @pytest.fixture
    def settings(self, tmp_path, bucket_url, s3):
        return Settings(
            data_dir=tmp_path,
            artifact_url=f"{bucket_url}/{secrets.token_hex(8)}",
            download_endpoint=s3.endpoint,
        )

    def test_a_download_is_sent_there_with_its_digest(self, client, url):
        answer = client.get(url, follow_redirects=False)

        digest = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
        assert answer.status_code == 307
        assert answer.headers["ETag"] == ETAG
        assert answer.headers["Repr-Digest"] == f"sha-256=:{digest}:"
        assert httpx2.get(answer.headers["Location"]).content == CONTENT

    def test_the_client_goes_there(self, backends, url, tmp_path):
        with listening(backends) as address, Client(address) as client:
            download(client._connection, url, tmp_path / "model.keras")

        assert (tmp_path / "model.keras").read_bytes() == CONTENT

    def test_head_is_answered_here(self, client, url):
        assert client.head(url, follow_redirects=False).status_code == 200

    def test_a_damaged_file_is_a_500_and_noted(self, client, backends, job, url):
        key = artifact_key(job["id"], 1, "model.keras")
        obstore.put(backends.files._store, key, CONTENT[:-1] + b"x")

        answer = client.get(url, follow_redirects=False)

        assert (answer.status_code, answer.json()["code"]) == (500, "damaged_file")

    def test_a_file_that_comes_in_pieces_becomes_a_model(self, client, backends, model):
        begun = client.post(
            "/v1/uploads",
            headers={
                "Tus-Resumable": "1.0.0",
                "Upload-Length": str(len(model)),
                "Upload-Metadata": "kind bW9kZWw=",
            },
        )
        for offset, piece in ((0, model[:100]), (100, model[100:])):
            sent = client.patch(
                begun.headers["Location"],
                content=piece,
                headers={
                    "Tus-Resumable": "1.0.0",
                    "Upload-Offset": str(offset),
                    "Content-Type": "application/offset+octet-stream",
                },
            )
            assert sent.status_code == 204, sent.text

        model_id = begun.headers["Location"].rpartition("/")[2]
        kept = backends.store.model(model_id)
        assert backends.files.size(kept.key) == len(model)


def test_head_gives_the_same_headers_and_no_bytes(client, url):
    head = client.head(url)

    assert head.status_code == 200
    assert head.content == b""
    assert head.headers == client.get(url).headers


@pytest.mark.parametrize("tag", [ETAG, f"W/{ETAG}", f'"other", {ETAG}', "*"])
def test_a_file_that_the_caller_has_is_not_sent_again(client, url, tag):
    answer = client.get(url, headers={"If-None-Match": tag})

    assert answer.status_code == 304
    assert answer.content == b""
    assert answer.headers["ETag"] == ETAG


def test_another_file_is_sent(client, url):
    assert client.get(url, headers={"If-None-Match": '"other"'}).content == CONTENT


def test_a_range_is_a_206(client, url):
    answer = client.get(url, headers={"Range": "bytes=100-199"})

    assert answer.status_code == 206
    assert answer.content == CONTENT[100:200]
    assert answer.headers["Content-Range"] == f"bytes 100-199/{len(CONTENT)}"
    assert answer.headers["Content-Length"] == "100"
    assert answer.headers["ETag"] == ETAG


def test_a_range_behind_the_end_is_a_416(client, url):
    answer = client.get(url, headers={"Range": f"bytes={len(CONTENT)}-"})

    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(CONTENT)}"
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.fixture
def damaged(url, backends, job):
    """One bit of the stored artifact, flipped."""
    [artifact] = backends.store.of(LOCAL).artifacts(job["id"])
    path = backends.incoming.parent / "files" / artifact.key
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return url


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-9"}], ids=["whole", "a good part"])
def test_a_damaged_file_is_an_error_and_never_a_download(client, damaged, headers):
    answer = client.get(damaged, headers=headers)

    assert answer.status_code == 500
    assert answer.json()["code"] == "damaged_file"
    assert "changed since it was made" in answer.json()["detail"]
    assert "Submit the job again" in answer.json()["hint"]


def test_damage_is_written_into_the_audit(client, damaged, job, backends):
    client.get(damaged)

    with reading(backends.store._engine) as connection:
        found = connection.execute(
            select(audit.c.tenant, audit.c.subject).where(audit.c.action == "damage_found")
        ).all()
    assert found == [("local", job["id"])]


@pytest.mark.parametrize(
    ("if_range", "status"), [(ETAG, 206), ('"other"', 200), (f"W/{ETAG}", 200)]
)
def test_a_range_is_only_given_of_the_file_that_the_caller_means(client, url, if_range, status):
    answer = client.get(url, headers={"Range": "bytes=0-9", "If-Range": if_range})

    assert answer.status_code == status


def test_a_name_that_the_job_does_not_have_is_a_404(client, url):
    answer = client.get(url.replace("model.keras", "model.tflite"))

    assert answer.status_code == 404
    assert answer.json()["code"] == "artifact_not_found"


_PACK = {"gzip": gzip.compress, "zstd": zstandard.compress, "xz": lzma.compress}
_UNPACK = {
    "gzip": gzip.decompress,
    "zstd": lambda packed: zstandard.ZstdDecompressor().decompress(packed, len(CONTENT)),
    "xz": lzma.decompress,
    None: lambda content: content,
}


@pytest.fixture
def compressed_url(worker, job):
    """Where an artifact is that is kept compressed too, ``xz`` being the smallest."""
    claim = worker.claim(job["id"])
    key = artifact_key(job["id"], claim.fence, "model.keras")
    forms = []
    for encoding, pack in _PACK.items():
        packed = worker.folder / f"packed.{encoding}"
        packed.write_bytes(pack(CONTENT))
        worker.backends.files.put(key + SUFFIXES[encoding], packed)
        sha256 = hashlib.sha256(packed.read_bytes()).hexdigest()
        size = packed.stat().st_size
        forms.append(Compressed(encoding=encoding, bytes=size, sha256=sha256))
    artifact = ArtifactResult(
        name="model.keras",
        format="keras",
        bytes=len(CONTENT),
        compressed_bytes=0,
        sha256=SHA256,
        verified=True,
        max_abs_error=0.0,
        metrics={},
        latency_ms=1.0,
        compressed=tuple(forms),
    )
    worker.succeed(job["id"], CONTENT, claim=claim, artifacts=(artifact,))
    return f"/v1/jobs/{job['id']}/artifacts/model.keras"


def _raw(client, url, **headers):
    """Return the answer as it was sent, and the bytes of its body."""
    with client.stream("GET", url, headers=headers) as answer:
        return answer, b"".join(answer.iter_raw())


@pytest.mark.parametrize(
    ("accepted", "sent"),
    [("gzip", "gzip"), ("zstd", "zstd"), ("xz", "xz"), ("identity", None), ("", None)],
)
def test_whoever_asks_for_an_encoding_gets_it(client, compressed_url, accepted, sent):
    answer, body = _raw(client, compressed_url, **{"Accept-Encoding": accepted})

    assert answer.headers.get("Content-Encoding") == sent
    assert _UNPACK[sent](body) == CONTENT
    assert answer.headers["Content-Length"] == str(len(body))
    assert answer.headers["ETag"] == f'"{hashlib.sha256(body).hexdigest()}"'
    assert answer.headers["Vary"] == "Accept-Encoding"


def test_a_client_that_knows_encodings_unpacks_them_by_itself(client, compressed_url):
    answer = client.get(compressed_url, headers={"Accept-Encoding": "gzip"})

    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.content == CONTENT


def test_a_range_is_one_of_the_file_itself(client, compressed_url):
    headers = {"Accept-Encoding": "gzip, zstd", "Range": "bytes=100-199"}
    answer, body = _raw(client, compressed_url, **headers)

    assert answer.status_code == 206
    assert "Content-Encoding" not in answer.headers
    assert body == CONTENT[100:200]


def test_a_compressed_file_that_the_caller_has_is_not_sent_again(client, compressed_url):
    first, _ = _raw(client, compressed_url, **{"Accept-Encoding": "zstd"})
    headers = {"Accept-Encoding": "zstd", "If-None-Match": first.headers["ETag"]}

    assert client.get(compressed_url, headers=headers).status_code == 304
