"""Real static checks in which the uploaded model has found a way to run code."""

import json
import sys

import pytest

from app.jobs.errors import RefusedFileError
from app.jobs.intake import run
from app.jobs.intake.run import Checks
from tests.escapes import WITHOUT_TENSORFLOW, surroundings

_HOSTILE = (
    "from tests import escapes; escapes.be_a_hostile_check({!r}); escapes.{}('app.jobs.intake')"
)


@pytest.fixture
def escaped(tmp_path, monkeypatch):
    """Return a function that checks a file in a process run like that, and says what succeeded."""

    asked = tmp_path / "asked.keras"
    asked.write_bytes(b"PK")

    def checked(how):
        another = tmp_path / how
        another.mkdir()
        with surroundings(another) as around, Checks(timeout_seconds=60) as checks:
            script = _HOSTILE.format(around.arguments, how)
            monkeypatch.setattr(run, "_COMMAND", (sys.executable, "-P", "-c", script))
            with pytest.raises(RefusedFileError) as refused:
                checks.model(asked)
        assert refused.value.code == "escapes"
        return json.loads(refused.value.message)

    return checked


def test_what_succeeds_in_any_other_process_fails_in_a_check(escaped):
    assert escaped("run_unconfined") == [escape.__name__ for escape in WITHOUT_TENSORFLOW]
    assert escaped("run") == []
