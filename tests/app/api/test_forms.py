"""What a form may be: sent by hand, so that nothing mends it on the way."""

import asyncio
import hashlib
import os
import resource
import time
from contextlib import contextmanager

import pytest
from starlette.requests import Request

from app.api.errors import (
    InvalidRequestError,
    MalformedRequestError,
    UnsupportedContentTypeError,
)
from app.api.forms import FormLimits, display_name, receive_form, remove_abandoned
from app.jobs.errors import BackendUnavailableError, TooLargeError

BOUNDARY = "b0undary"
KIND = f"multipart/form-data; boundary={BOUNDARY}"


def part(name, content, *, filename=None):
    shown = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n\r\n'
    return head.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def receive(folder, *chunks, headers=None, seen=None, hangs_up=False):
    """Receive a form that arrives in ``chunks``; return its files and their contents."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    end = {"type": "http.disconnect"} if hangs_up else {"type": "http.request"}
    arriving = iter([*messages, end])

    async def next_message():
        return next(arriving)

    raw = {"content-type": KIND, **(headers or {})}
    scope = {
        "type": "http",
        "headers": [(name.encode(), value.encode()) for name, value in raw.items()],
    }
    limits = FormLimits(
        files={"model": 1000, "data": 3_000_000},
        texts={"spec": (seen if seen is not None else []).append},
        max_text_bytes=100,
    )

    async def run():
        async with receive_form(Request(scope, next_message), limits, folder=folder) as files:
            return files, {name: file.path.read_bytes() for name, file in files.items()}

    return asyncio.run(run())


def test_a_file_arrives_whole_and_hashed_however_it_is_cut(tmp_path):
    content = b"--b0undar" + bytes(range(256)) + b"\r\n--b0unda"
    body = part("model", content, filename="m.keras") + END

    for size in (1, 7, len(body)):
        chunks = [body[start : start + size] for start in range(0, len(body), size)]
        files, contents = receive(tmp_path, *chunks)

        assert contents == {"model": content}
        assert files["model"].bytes == len(content)
        assert files["model"].sha256 == hashlib.sha256(content).hexdigest()
        assert files["model"].filename == "m.keras"


def test_a_file_larger_than_a_block_arrives_whole(tmp_path):
    content = bytes(2_500_000)

    files, _ = receive(tmp_path, part("data", content, filename="d.npz"), END)

    assert files["data"].sha256 == hashlib.sha256(content).hexdigest()


def test_nothing_stays_when_the_form_has_been_used(tmp_path):
    receive(tmp_path, part("model", b"content", filename="m"), END)

    assert list(tmp_path.iterdir()) == []


def test_a_text_is_taken_as_soon_as_it_is_complete(tmp_path):
    seen = []
    oversized = part("model", bytes(2000), filename="m")

    with pytest.raises(TooLargeError):
        receive(tmp_path, part("spec", b"{}"), oversized, END, seen=seen)

    assert seen == [b"{}"]


def test_the_client_gives_the_name_and_never_the_path(tmp_path):
    files, _ = receive(tmp_path, part("model", b"", filename="../../etc/passwd"), END)

    assert files["model"].filename == "passwd"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("model.keras", "model.keras"),
        ("/abs/model.keras", "model.keras"),
        ("a\x00b\x1b[31m.keras", "ab[31m.keras"),
        ("Modèle.keras", "Modèle.keras"),
        ("", "unnamed"),
        ("...", "unnamed"),
        ("x" * 300 + ".keras", "x" * 194 + ".keras"),
    ],
)
def test_a_name_is_made_harmless(raw, shown):
    assert display_name(raw) == shown


@pytest.mark.parametrize(
    ("parts", "pointer"),
    [
        pytest.param([part("modle", b"", filename="m")], "/modle", id="unknown"),
        pytest.param([part("model", b"", filename="m")] * 2, "/model", id="twice"),
        pytest.param([part("spec", b"{}")] * 2, "/spec", id="text twice"),
        pytest.param([part("model", b"model.keras")], "/model", id="text where a file is due"),
    ],
)
def test_a_part_that_has_no_place_is_refused(tmp_path, parts, pointer):
    with pytest.raises(InvalidRequestError) as refused:
        receive(tmp_path, *parts, END)

    assert [error.pointer for error in refused.value.errors] == [pointer]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([part("model", bytes(1001), filename="m")], id="file"),
        pytest.param([part("spec", bytes(101))], id="text"),
    ],
)
def test_a_part_is_cut_off_at_its_limit(tmp_path, parts):
    with pytest.raises(TooLargeError, match=r"at most 1000? bytes"):
        receive(tmp_path, *parts, END)

    assert list(tmp_path.iterdir()) == []


def test_a_part_at_its_limit_is_taken(tmp_path):
    files, _ = receive(tmp_path, part("model", bytes(1000), filename="m"), END)

    assert files["model"].bytes == 1000


def test_a_form_that_declares_too_much_is_refused_unread(tmp_path):
    with pytest.raises(TooLargeError, match="Received: 10000000000"):
        receive(tmp_path, headers={"content-length": "10000000000"})


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([], id="empty"),
        pytest.param([part("model", b"content", filename="m")], id="no closing boundary"),
        pytest.param([b"no form at all"], id="no boundary"),
        pytest.param([part("model", b"content", filename="m")[:60]], id="in the header"),
    ],
)
def test_a_form_that_breaks_off_is_refused(tmp_path, chunks):
    with pytest.raises(MalformedRequestError):
        receive(tmp_path, *chunks)

    assert list(tmp_path.iterdir()) == []


def test_a_client_that_goes_away_leaves_no_file_behind(tmp_path):
    with pytest.raises(MalformedRequestError, match="went away"):
        receive(tmp_path, part("model", b"content", filename="m"), hangs_up=True)

    assert list(tmp_path.iterdir()) == []


@contextmanager
def full_disk():
    """Let no file of this process grow beyond 500 bytes; that holds for pytest's own report too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_no_fault_of_the_caller(tmp_path):
    with pytest.raises(BackendUnavailableError, match="cannot be written to"), full_disk():
        receive(tmp_path, part("model", bytes(1000), filename="m"), END)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("text/plain", UnsupportedContentTypeError),
        ("", UnsupportedContentTypeError),
        ("multipart/form-data", MalformedRequestError),
        (f"multipart/form-data; boundary={'b' * 500}", MalformedRequestError),
    ],
)
def test_what_does_not_call_itself_a_form_is_refused(tmp_path, kind, error):
    with pytest.raises(error):
        receive(tmp_path, END, headers={"content-type": kind})


def test_what_a_killed_process_was_receiving_is_removed_and_no_form_that_still_comes(tmp_path):
    long_ago = time.time() - 3700
    for name in ("abandoned", "coming"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model").write_bytes(b"half")
        os.utime(tmp_path / name / "model", (long_ago, long_ago))
    (tmp_path / "coming" / "data").write_bytes(b"more")
    for name in ("abandoned", "coming"):
        os.utime(tmp_path / name, (long_ago, long_ago))

    remove_abandoned(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["coming"]
