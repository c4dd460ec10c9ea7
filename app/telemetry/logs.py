"""Logs: lines for people, or JSON for whatever gathers them."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, TypeAlias

from opentelemetry import trace
from pythonjsonlogger.json import JsonFormatter

LogFormat: TypeAlias = Literal["text", "json"]

_TEXT = "%(asctime)s %(levelname)s %(message)s"
_FIELDS = "%(levelname)s %(name)s %(message)s %(job)s %(trace_id)s"
#: They come with handlers of their own.
_OTHERS = ("uvicorn", "uvicorn.access", "uvicorn.error")

_job: ContextVar[str | None] = ContextVar("job", default=None)


def configure_logs(form: LogFormat) -> None:
    """Have everything that this process logs go to standard error as ``form``.

    A line of JSON has ``timestamp``, ``level``, ``logger``, ``message``, ``exc_info`` where there
    was an exception, ``job`` while one is worked on, and ``trace_id`` while something is traced.
    """
    handler = logging.StreamHandler()
    handler.addFilter(_add_context)
    handler.setFormatter(_json() if form == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in _OTHERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


@contextmanager
def concerning(job_id: str) -> Generator[None]:
    """Have whatever this thread logs in the block say which job it is about."""
    token = _job.set(job_id)
    try:
        yield
    finally:
        _job.reset(token)


def _json() -> JsonFormatter:
    return JsonFormatter(
        _FIELDS,
        rename_fields={"levelname": "level", "name": "logger"},
        timestamp=True,
    )


def _add_context(record: logging.LogRecord) -> bool:
    span = trace.get_current_span().get_span_context()
    record.job = _job.get()
    record.trace_id = trace.format_trace_id(span.trace_id) if span.is_valid else None
    return True
