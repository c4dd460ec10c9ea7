"""What a line of a log says."""

import json
import logging
import sys
from contextlib import contextmanager

import pytest

from app.telemetry.logs import concerning, configure_logs
from app.telemetry.tracing import TracesUnavailableError, traced


@contextmanager
def logging_as(form):
    """Configure the logs of a process that has just started; put back what pytest needs."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    configure_logs(form)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def test_a_line_of_json_says_what_whence_and_about_which_job(capsys):
    with logging_as("json"):
        with concerning("job_1"):
            logging.getLogger("worker.supervisor").info("job %s: taken", "job_1")
        logging.getLogger("uvicorn.error").warning("of another kind")

    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert first.pop("timestamp").endswith("+00:00")
    assert first == {
        "level": "INFO",
        "logger": "worker.supervisor",
        "message": "job job_1: taken",
        "job": "job_1",
        "trace_id": None,
    }
    assert (second["logger"], second["job"]) == ("uvicorn.error", None)


def test_an_exception_is_one_line(capsys):
    error = KeyError("what")

    with logging_as("json"):
        logging.getLogger("worker").error("it broke", exc_info=error)

    (line,) = capsys.readouterr().err.splitlines()
    assert "KeyError: 'what'" in json.loads(line)["exc_info"]


def test_a_line_for_people_is_no_json(capsys):
    with logging_as("text"):
        logging.getLogger("worker").warning("no heartbeat")

    assert capsys.readouterr().err.endswith("WARNING no heartbeat\n")


def test_traces_that_cannot_be_sent_are_refused_in_words(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    with (
        pytest.raises(TracesUnavailableError, match="the extra `traces` of espalier"),
        traced("espalier-api", "http://127.0.0.1:1/v1/traces"),
    ):
        pass
