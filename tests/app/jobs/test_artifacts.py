import hashlib
import os
import secrets
import shutil
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import httpx2
import obstore
import pytest

from app.jobs import artifacts, bucket
from app.jobs.artifacts import ArtifactStore, artifact_key, job_prefix
from app.jobs.errors import (
    ArtifactNotFoundError,
    BackendUnavailableError,
    DamagedFileError,
    StorageFullError,
)

#: More than one part of an upload and more than one chunk of a download.
CONTENT = os.urandom(11 * 2**20 + 7)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def content_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("content") / "content"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "with space" / "files"


@pytest.fixture(params=["folder", "bucket"])
def place(request):
    return request.param


@pytest.fixture
def files(place, folder, tmp_path, request):
    if place == "folder":
        return ArtifactStore(folder.as_uri())
    return ArtifactStore(request.getfixturevalue("prefix"), growing_in=tmp_path / "growing")


@pytest.fixture
def prefix(bucket_url):
    """Return a place in the bucket that no other test uses."""
    return f"{bucket_url}/{secrets.token_hex(8)}"


@pytest.fixture
def overwrite(files):
    """Return a function that has the store keep other bytes, as a broken disk would."""

    def overwrite(key, change):
        content = bytearray(obstore.get(files._store, key).bytes())
        obstore.put(files._store, key, bytes(change(content)))

    return overwrite


#: What only a folder has.
_of_folder = pytest.mark.parametrize("place", ["folder"], indirect=True)


@pytest.fixture
def put(files, tmp_path):
    def put(key, content=b"content"):
        path = tmp_path / "upload"
        path.write_bytes(content)
        files.put(key, path)

    return put


def _sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_what_was_put_is_fetched(files, content_file, tmp_path):
    files.put("models/mdl_1/model.keras", content_file)

    files.fetch("models/mdl_1/model.keras", tmp_path / "fetched", sha256=SHA256)

    assert (tmp_path / "fetched").read_bytes() == CONTENT
    assert content_file.read_bytes() == CONTENT


@_of_folder
def test_files_lie_below_the_folder(put, folder):
    put("jobs/job_1/1/model.keras")

    assert (folder / "jobs" / "job_1" / "1" / "model.keras").read_bytes() == b"content"


@_of_folder
def test_another_process_of_the_same_folder_sees_the_files(put, files, folder):
    put("a/b")

    assert ArtifactStore(folder.as_uri()).size("a/b") == files.size("a/b") == 7


def test_what_is_put_again_is_replaced(put, files):
    put("a/b", b"first")
    put("a/b", b"second")

    assert b"".join(files.stream("a/b", sha256=_sha256(b"second"))) == b"second"


@_of_folder
def test_an_upload_in_progress_is_not_to_be_seen(files, content_file, folder):
    """The file appears under its name in one move, when it is complete."""
    files.put("a/b", content_file)
    broken = content_file.with_name("broken")
    broken.mkdir(exist_ok=True)

    with pytest.raises(OSError, match="Is a directory"):
        files.put("a/b", broken)

    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["b"]
    assert files.size("a/b") == len(CONTENT)


def test_a_download_comes_in_chunks(files, content_file):
    files.put("a/b", content_file)

    chunks = list(files.stream("a/b", sha256=SHA256))

    assert b"".join(chunks) == CONTENT
    assert max(len(chunk) for chunk in chunks) <= 8 * 2**20


@pytest.mark.parametrize(
    ("start", "end"),
    [
        pytest.param(0, 4, id="the beginning"),
        pytest.param(3, 7, id="the end"),
        pytest.param(3, None, id="to the end"),
        pytest.param(3, 1000, id="beyond the end"),
        pytest.param(2, 3, id="one byte"),
        pytest.param(3, 3, id="nothing"),
        pytest.param(7, None, id="after the end"),
    ],
)
def test_a_range_is_as_in_a_slice(put, files, start, end):
    put("a/b", b"0123456")

    chunks = files.stream("a/b", sha256=_sha256(b"0123456"), start=start, end=end)

    assert b"".join(chunks) == b"0123456"[start:end]


def test_an_empty_file_is_a_file(put, files, tmp_path):
    put("a/b", b"")

    files.fetch("a/b", tmp_path / "fetched", sha256=_sha256(b""))

    assert files.size("a/b") == 0
    assert (tmp_path / "fetched").read_bytes() == b""


@pytest.mark.parametrize("key", ["nothing", "a", "a/c"])
def test_what_is_not_there_is_not_found(put, files, tmp_path, key):
    put("a/b")

    with pytest.raises(ArtifactNotFoundError, match=f"no file is stored under {key}"):
        files.stream(key, sha256=SHA256)
    with pytest.raises(ArtifactNotFoundError):
        files.size(key)
    with pytest.raises(ArtifactNotFoundError):
        files.fetch(key, tmp_path / "fetched", sha256=SHA256)

    assert not (tmp_path / "fetched").exists()


def test_a_local_file_that_is_missing_is_our_mistake(files, tmp_path):
    with pytest.raises(FileNotFoundError):
        files.put("a/b", tmp_path / "missing")


@_of_folder
def test_deleting_removes_the_file_and_its_empty_folders(put, files, folder):
    put("jobs/job_1/1/model.keras")

    files.delete("jobs/job_1/1/model.keras")
    files.delete("jobs/job_1/1/model.keras")

    assert list(folder.iterdir()) == []


def test_deleting_below_leaves_what_only_begins_alike(put, files):
    for key in ("jobs/job_1/1/a", "jobs/job_1/2/a", "jobs/job_10/1/a"):
        put(key)

    files.delete_below("jobs/job_1")
    files.delete_below("jobs/job_1")

    assert files.size("jobs/job_10/1/a") == 7
    for key in ("jobs/job_1/1/a", "jobs/job_1/2/a"):
        with pytest.raises(ArtifactNotFoundError):
            files.size(key)


def test_deleting_below_a_file_removes_the_file(put, files):
    put("models/mdl_1/model.keras")

    files.delete_below("models/mdl_1/model.keras")

    with pytest.raises(ArtifactNotFoundError):
        files.size("models/mdl_1/model.keras")


def test_deleting_what_is_not_there_is_no_error(put, files):
    put("a/b")

    files.delete("a/b")
    files.delete("a/b")

    with pytest.raises(ArtifactNotFoundError):
        files.size("a/b")


def _flipped(content, at):
    """Flip one bit of the byte ``at``."""
    content[at] ^= 1
    return content


@pytest.mark.parametrize("at", [0, len(CONTENT) // 2, -1])
def test_of_a_file_with_one_flipped_bit_no_byte_is_read(files, content_file, overwrite, at):
    files.put("a/b", content_file)
    overwrite("a/b", lambda content: _flipped(content, at))

    with pytest.raises(DamagedFileError, match=f"must have the SHA-256 .* {SHA256}. Received:"):
        files.stream("a/b", sha256=SHA256, start=100, end=101)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: _flipped(content, -1), id="a flipped bit"),
        pytest.param(lambda content: content[:-1], id="cut off"),
        pytest.param(lambda content: content + b"\0", id="longer"),
    ],
)
def test_a_damaged_file_is_not_fetched(files, content_file, overwrite, tmp_path, damage):
    files.put("a/b", content_file)
    overwrite("a/b", damage)

    with pytest.raises(DamagedFileError):
        files.fetch("a/b", tmp_path / "fetched", sha256=SHA256)


def test_what_would_leave_too_little_of_the_disk_is_not_put(folder, content_file):
    files = ArtifactStore(folder.as_uri(), keep_free_bytes=2**62)

    with pytest.raises(
        StorageFullError, match=f"must keep {2**62} bytes free. Received: {len(CONTENT)} more"
    ):
        files.put("a/b", content_file)

    assert list(folder.iterdir()) == []


def test_what_must_stay_free_is_no_room(folder, tmp_path):
    half = shutil.disk_usage(tmp_path).free // 2
    files = ArtifactStore(folder.as_uri(), keep_free_bytes=half)

    files.require_room(half // 2)
    with pytest.raises(StorageFullError):
        files.require_room(half * 2)


def test_fetching_ends_when_it_is_told_to(files, content_file, tmp_path):
    files.put("a/b", content_file)

    def stop():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        files.fetch("a/b", tmp_path / "fetched", sha256=SHA256, between=stop)

    assert (tmp_path / "fetched").read_bytes() == b""


@_of_folder
def test_what_was_put_is_on_the_disk_with_every_folder_above_it(put, folder, monkeypatch):
    synced = []
    sync = os.fsync

    def noted(descriptor):
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)

    put("models/mdl_1/model.keras")

    names = ("models/mdl_1/model.keras", "models/mdl_1", "models", "")
    assert synced == [folder / name for name in names]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "..",
        "a/../b",
        "a/..",
        "./a",
        "a//b",
        "a/",
        "a\\b",
        "a b",
        "a\n",
        "é",
        ".a",
    ],
)
@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda files, key, path: files.put(key, path), id="put"),
        pytest.param(lambda files, key, path: files.fetch(key, path, sha256=SHA256), id="fetch"),
        pytest.param(lambda files, key, _: files.stream(key, sha256=SHA256), id="stream"),
        pytest.param(lambda files, key, _: files.delete(key), id="delete"),
        pytest.param(lambda files, key, _: files.delete_below(key), id="delete below"),
    ],
)
@_of_folder
def test_a_key_that_is_no_plain_name_is_refused(files, content_file, key, use):
    with pytest.raises(ValueError, match="a key must be plain names"):
        use(files, key, content_file)

    assert content_file.stat().st_size == len(CONTENT)


def test_a_url_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"begin with file:// or s3://\. Received: gs://bucket"):
        ArtifactStore("gs://bucket")


def test_a_store_that_answers_is_reachable(files):
    assert files.is_reachable()


def test_what_is_left_for_others_is_listed_by_its_age(put, files):
    put("models/mdl_1/model.keras")

    assert files.written_before(datetime.now(UTC) + timedelta(minutes=1)) == [
        "models/mdl_1/model.keras"
    ]
    assert files.written_before(datetime.now(UTC) - timedelta(hours=1)) == []


def test_what_came_in_pieces_gets_a_lasting_key_and_its_former_one_again(files, tmp_path):
    growing = files.growing("uploads/mdl_1")
    growing.append(b"012")
    growing.append(b"345")
    growing.close()
    assert files.grown("uploads/mdl_1") == 6

    files.rename("uploads/mdl_1", "models/mdl_1/model.keras")
    files.fetch("models/mdl_1/model.keras", tmp_path / "fetched", sha256=_sha256(b"012345"))
    assert files.grown("uploads/mdl_1") == 0

    files.rename("models/mdl_1/model.keras", "uploads/mdl_1")
    assert files.grown("uploads/mdl_1") == 6
    with pytest.raises(ArtifactNotFoundError):
        files.size("models/mdl_1/model.keras")


def test_what_came_in_pieces_can_be_removed(files):
    files.growing("uploads/mdl_1").close()

    files.delete("uploads/mdl_1")

    assert files.grown("uploads/mdl_1") == 0
    assert files.grown("uploads/mdl_2") == 0


def test_uploads_that_nobody_goes_on_with_are_forgotten(prefix, tmp_path):
    (tmp_path / "uploads").mkdir()
    for name, days in (("old", 3), ("new", 1)):
        path = tmp_path / "uploads" / name
        path.touch()
        os.utime(path, (time.time() - 86400 * days,) * 2)

    ArtifactStore(prefix, growing_in=tmp_path)

    assert [path.name for path in (tmp_path / "uploads").iterdir()] == ["new"]


@_of_folder
def test_callers_do_not_reach_a_folder(put, files):
    put("a/b")

    assert files.link("a/b", sha256=_sha256(b"content")) is None


class TestLinks:
    @pytest.fixture
    def place(self):
        return "bucket"

    @pytest.fixture
    def files(self, prefix, s3, tmp_path):
        return ArtifactStore(prefix, growing_in=tmp_path, download_endpoint=s3.endpoint)

    def test_a_link_needs_no_key_and_names_the_file(self, put, files):
        put("jobs/job_1/1/model.keras")

        link = files.link("jobs/job_1/1/model.keras", sha256=_sha256(b"content"))

        answer = httpx2.get(link, headers={"Range": "bytes=1-3"})
        assert (answer.status_code, answer.content) == (206, b"ont")
        assert answer.headers["Content-Disposition"] == 'attachment; filename="model.keras"'

    def test_there_is_no_link_to_a_damaged_file(self, put, files, overwrite):
        put("a/b")
        overwrite("a/b", lambda content: _flipped(content, 0))

        with pytest.raises(DamagedFileError):
            files.link("a/b", sha256=_sha256(b"content"))

    def test_there_is_no_link_where_callers_do_not_reach_the_store(self, put, files, prefix):
        put("a/b")
        inside = ArtifactStore(prefix, growing_in=files._place.folder)

        assert inside.link("a/b", sha256=_sha256(b"content")) is None


def test_a_bucket_that_is_away_is_unavailable(bucket_url, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setitem(bucket._RETRIES, "max_retries", 0)
    files = ArtifactStore(bucket_url, growing_in=tmp_path)

    assert not files.is_reachable()


@_of_folder
def test_a_store_is_reachable_until_nothing_can_be_written(files, folder):
    assert files.is_reachable()

    shutil.rmtree(folder)
    folder.touch()

    assert not files.is_reachable()


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(BackendUnavailableError, match="artifact store does not answer"):
        ArtifactStore((tmp_path / "file" / "files").as_uri())


@_of_folder
@pytest.mark.parametrize(
    "left", [pytest.param(2**21, id="between chunks"), pytest.param(2**21 + 7, id="in a chunk")]
)
def test_a_file_that_breaks_off_in_a_download_is_unavailable(files, content_file, folder, left):
    files.put("a/b", content_file)
    chunks = files.stream("a/b", sha256=SHA256)
    next(chunks)

    os.truncate(folder / "a" / "b", left)

    with pytest.raises(BackendUnavailableError):
        list(chunks)


def test_no_two_attempts_write_to_one_place():
    keys = [artifact_key("job_1", fence, "model.keras") for fence in range(3)]

    assert all(first != second for first, second in pairwise(keys))
    assert all(key.startswith(f"{job_prefix('job_1')}/") for key in keys)
    assert artifacts._KEY.fullmatch(keys[0])
