import json
import subprocess
import sys

import numpy as np
import pytest

from app.jobs.errors import RefusedFileError
from app.jobs.intake import __main__ as command
from app.jobs.intake import run
from app.jobs.intake.model import summarise_model
from app.jobs.intake.run import check_dataset, check_model


def test_the_process_finds_what_the_function_finds(models):
    path = models / "cnn.keras"

    assert check_model(path, timeout_seconds=60) == summarise_model(path)


def test_the_process_refuses_as_the_function_does(models):
    with pytest.raises(RefusedFileError, match="'code' is or contains a Lambda") as caught:
        check_model(models / "lambda.keras", timeout_seconds=60)

    assert caught.value.code == "lambda_layer"
    assert "Rescaling" in caught.value.hint


def test_a_dataset_is_checked_likewise(npz):
    summary = check_dataset(npz(x=np.zeros((4, 2)), y=np.arange(4)), timeout_seconds=60)

    assert summary.highest_label == 3


def test_a_check_that_takes_too_long_is_a_refusal(models):
    with pytest.raises(RefusedFileError) as caught:
        check_model(models / "cnn.keras", timeout_seconds=0.01)

    assert caught.value.code == "check_timed_out"


def test_a_name_that_is_no_text_does_not_break_the_answer(models, tmp_path):
    path = tmp_path / "nested.h5"
    path.write_bytes((models / "nested.h5").read_bytes().replace(b"inner", b"inn\xf2r"))

    with pytest.raises(RefusedFileError) as caught:
        check_model(path, timeout_seconds=60)

    assert caught.value.message.encode("utf-8")


def test_a_file_that_breaks_the_process_is_a_refusal(tmp_path):
    with pytest.raises(RefusedFileError) as caught:
        check_model(tmp_path / "absent.keras", timeout_seconds=60)

    assert caught.value.code == "check_crashed"


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


@pytest.mark.parametrize(("kind", "name"), [("model", "cnn.keras"), ("dataset", "cnn.h5")])
def test_prints_one_line_of_json(models, monkeypatch, capsys, kind, name):
    monkeypatch.setattr(command, "_bound", lambda: None)

    status = command.main([kind, str(models / name)])

    printed = capsys.readouterr().out
    assert status == 0
    assert printed.count("\n") == 1
    assert json.loads(printed).keys() <= {"summary", "refusal"}
