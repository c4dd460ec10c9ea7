"""Traces, by OpenTelemetry: a job can be followed from its request to its last file by one id.

FastAPI makes a span of each request by itself. What is not collected costs next to nothing: without
a provider the spans of OpenTelemetry are empty.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Self

from opentelemetry import trace
from opentelemetry.trace import Span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_HEADER = "traceparent"
_propagator = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("espalier")


class TracesUnavailableError(Exception):
    """Traces were asked for, and what collects them is not installed."""


@contextmanager
def traced(service: str, url: str) -> Generator[None]:
    """Send the spans of this process to ``url`` for as long as the block lasts.

    Args:
        service: What this process is called among others, for example ``espalier-api``.
        url: Of a collector that takes OTLP over HTTP, for example
            ``http://127.0.0.1:4318/v1/traces``; empty for no traces.

    Raises:
        TracesUnavailableError: the packages for it are missing.
    """
    if not url:
        yield
        return
    try:
        # Not earlier: they come with an extra.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ModuleNotFoundError as error:
        message = f"traces need the extra `traces` of espalier. Received: no {error.name}"
        raise TracesUnavailableError(message) from error
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()


def traceparent() -> str | None:
    """Return what goes on here now, by W3C Trace Context; ``None`` where nothing is traced."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get(_HEADER)


@contextmanager
def span(
    name: str, attributes: Mapping[str, str | int], *, parent: str | None = None
) -> Generator[Span]:
    """Trace what happens in the block.

    Args:
        name: What it is.
        attributes: What else is known of it.
        parent: Whence it comes, as ``traceparent`` said elsewhere; ``None``: from what goes on
            here.
    """
    context = None if parent is None else _propagator.extract({_HEADER: parent})
    with _tracer.start_as_current_span(name, context, attributes=attributes) as current:
        yield current


class Steps:
    """Traces one thing after the other: each ends where the next one begins, or with the block."""

    def __init__(self) -> None:
        self._name: str | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def begin(self, name: str) -> None:
        """End what went on before; what goes on already goes on."""
        if name == self._name:
            return
        self._open.close()
        self._name = name
        self._open.enter_context(span(name, {}))
