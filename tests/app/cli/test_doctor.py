import json

import pytest

from app.cli import doctor
from app.jobs.confinement import trial
from app.jobs.confinement.process import Confinement


@pytest.fixture
def found(espalier, served, monkeypatch):
    """Return a function that runs the doctor, and returns its exit status and its findings."""
    # Asking TensorFlow takes seconds; that it is asked is seen by hand.
    monkeypatch.setattr(doctor, "_COUNT_GPUS", "print([])")

    def run():
        answer = espalier("doctor", "--json", "--url", served.address)
        return answer.exit_code, {finding["what"]: finding for finding in json.loads(answer.stdout)}

    return run


def test_a_machine_that_can_serve_is_told_so(found):
    status, findings = found()

    assert status == 0
    assert findings["keras"]["verdict"] == "well"
    assert findings["GPU"]["found"].startswith("none")
    assert findings["service"]["found"].endswith("is ready")


def test_a_broker_that_was_named_and_does_not_answer_is_wrong(found, monkeypatch):
    monkeypatch.setenv("ESPALIER_REDIS_URL", "redis://:secret@127.0.0.1:9/0")

    status, findings = found()

    assert status == 1
    assert findings["broker"]["found"] == "127.0.0.1:9/0 does not answer"


def test_production_without_confinement_is_wrong(found, monkeypatch):
    monkeypatch.setattr(trial, "tried", lambda: Confinement(landlock=0, seccomp=True))

    assert found()[0] == 0
    monkeypatch.setenv("ESPALIER_PRODUCTION", "1")
    assert found()[0] == 1


def test_what_was_found_is_a_table_for_people(espalier, found):
    found()

    assert "confinement" in espalier("doctor").stdout
