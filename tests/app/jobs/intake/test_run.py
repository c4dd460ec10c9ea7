import io
import resource
import struct
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest

from app.jobs.errors import RefusedFileError, StorageFullError
from app.jobs.intake import run
from app.jobs.intake.model import summarise_model
from app.jobs.intake.run import Checks


@pytest.fixture(scope="module")
def checks():
    with Checks(timeout_seconds=60) as checks:
        yield checks


def test_the_process_finds_what_the_function_finds(checks, models):
    path = models / "cnn.keras"

    assert checks.model(path) == summarise_model(path)


def test_the_process_refuses_as_the_function_does(checks, models):
    with pytest.raises(RefusedFileError, match="'code' is or contains a Lambda") as caught:
        checks.model(models / "lambda.keras")

    assert caught.value.code == "lambda_layer"
    assert "Rescaling" in caught.value.hint


def test_a_dataset_is_checked_likewise(checks, npz):
    summary = checks.dataset(npz(x=np.zeros((4, 2)), y=np.arange(4)))

    assert summary.highest_label == 3


def test_a_check_that_takes_too_long_is_a_refusal(models):
    with Checks(timeout_seconds=0.01) as checks, pytest.raises(RefusedFileError) as caught:
        checks.model(models / "cnn.keras")

    assert caught.value.code == "check_timed_out"


def test_a_name_that_is_no_text_does_not_break_the_answer(checks, models, tmp_path):
    path = tmp_path / "nested.h5"
    path.write_bytes((models / "nested.h5").read_bytes().replace(b"inner", b"inn\xf2r"))

    with pytest.raises(RefusedFileError) as caught:
        checks.model(path)

    assert caught.value.message.encode("utf-8")


def test_a_file_that_breaks_the_process_is_a_refusal(checks, tmp_path):
    with pytest.raises(RefusedFileError) as caught:
        checks.model(tmp_path / "absent.keras")

    assert caught.value.code == "check_crashed"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is done without telling")
def test_a_full_disk_is_no_fault_of_the_file(models):
    with Checks(timeout_seconds=60) as checks:
        checks.fill()
        for checker in checks._ready:
            resource.prlimit(checker._process.pid, resource.RLIMIT_FSIZE, (0, 0))

        with pytest.raises(StorageFullError, match="File too large"):
            checks.model(models / "cnn.keras")


def test_a_file_that_asks_for_more_memory_than_there_is_is_refused_in_words(checks, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(_with_a_dictionary_of_4_gb())

    with pytest.raises(RefusedFileError) as caught:
        checks.model(path)

    assert caught.value.code == "too_large"


def _with_a_dictionary_of_4_gb():
    """Return a model packed by LZMA, whose own header says how much it needs to be unpacked."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive:
        for name in ("config.json", "metadata.json", "model.weights.h5"):
            archive.writestr(name, "{}")
    content = bytearray(file.getvalue())
    # Behind the header and the name: version, length of the properties, and they.
    struct.pack_into("<I", content, 30 + len("config.json") + 2 + 2 + 1, 0xFFFFFFF0)
    return content


def test_the_process_knows_nothing_of_its_surroundings(monkeypatch, tmp_path):
    monkeypatch.setenv("ESPALIER_DATABASE_URL", "postgresql://secret")

    assert "secret" not in str(run._environment(str(tmp_path)))


def test_the_process_is_bounded_before_it_reads():
    script = (
        "import resource, app.jobs.intake.__main__ as command; command._bound();"
        "print(resource.getrlimit(resource.RLIMIT_AS)[0])"
    )

    bound = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)

    assert int(bound.stdout) == 4 * 2**30


def test_a_process_that_waits_serves_one_file(models):
    with Checks(timeout_seconds=60) as checks:
        checks.fill()
        first, second = waiting = list(checks._ready)

        summaries = [checks.model(models / "cnn.keras") for _ in range(3)]

        assert summaries[0] == summaries[1] == summaries[2]
        assert checks._ready == []
        assert not any(checker.is_alive for checker in waiting)
        assert first is not second


def test_a_process_that_died_while_it_waited_is_not_asked(checks, models):
    checks.fill()
    for checker in checks._ready:
        checker._process.kill()
        checker._process.wait()

    assert checks.model(models / "cnn.keras") == summarise_model(models / "cnn.keras")


def test_nobody_waits_after_the_end():
    with Checks(timeout_seconds=60) as checks:
        checks.fill()
        waiting = list(checks._ready)

    checks.fill()

    assert waiting
    assert not any(checker.is_alive for checker in waiting)
    assert checks._ready == []


def test_processes_are_ready_again_after_a_while(monkeypatch, models):
    monkeypatch.setattr(run, "_QUIET_SECONDS", 0.05)
    with Checks(timeout_seconds=60) as checks:
        checks.model(models / "cnn.keras")
        deadline = time.monotonic() + 60
        while len(checks._ready) < run._MOST_READY and time.monotonic() < deadline:
            time.sleep(0.05)

        assert len(checks._ready) == run._MOST_READY


def test_a_process_that_nobody_asks_ends_in_silence():
    command = [*run._COMMAND[:1], *run._COMMAND[2:]]

    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
