"""One id from the request to the runner: in spans that a real collector gets, and in the logs."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.local import running_service
from tests.e2e.calls import ended

_MODEL = Path(__file__).parents[1] / "data" / "small.keras"
_TRACE = "0af7651916cd43dd8448eb211c80319c"
_CALLER = f"00-{_TRACE}-b7ad6b7169203331-01"


@dataclass
class Collector:
    """Takes spans by OTLP over HTTP."""

    server: HTTPServer
    bodies: list[bytes] = field(default_factory=list)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}/v1/traces"

    def spans(self, trace_id):
        """Return the spans of a trace, each with the service that sent it."""
        for body in self.bodies:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                names = {each.key: each.value.string_value for each in resource.resource.attributes}
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        if span.trace_id.hex() == trace_id:
                            yield names["service.name"], span


@pytest.fixture
def collector() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            collector.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(server)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield collector
        server.shutdown()
        thread.join()


def test_a_job_is_followed_by_one_id_from_its_request_to_its_runners(
    collector, tmp_path, monkeypatch
):
    monkeypatch.setenv("ESPALIER_TRACES_URL", collector.url)
    monkeypatch.setenv("ESPALIER_LOG_FORMAT", "json")
    with (
        running_service(tmp_path) as address,
        httpx2.Client(base_url=address, headers={"traceparent": _CALLER}, timeout=60) as client,
        _MODEL.open("rb") as model,
    ):
        job = client.post("/v1/jobs", files={"model": ("small.keras", model)}).json()
        done = ended(client, job["id"])

    spans = list(collector.spans(_TRACE))
    by_name = {span.name: span for _, span in spans}
    services = {span.name: service for service, span in spans}
    assert done["status"] == "succeeded"
    assert services["POST /v1/jobs"] == "espalier-api"
    assert services["attempt"] == services["runner prune"] == "espalier-worker"
    way = _way(by_name["validating"], {span.span_id: span for _, span in spans})
    assert way[:3] == ["validating", "runner prune", "attempt"]
    assert way[-1] == "POST /v1/jobs"
    assert {"exporting", "runner verify", "verifying"} <= by_name.keys()
    lines = [json.loads(line) for line in _json_lines(tmp_path)]
    about_job = [line for line in lines if line["job"] == job["id"]]
    assert {line["trace_id"] for line in about_job} == {_TRACE}
    assert {line["logger"] for line in about_job} >= {"app.api.admission", "worker.supervisor"}


def _way(span, by_id):
    """Return the names from a span up to the first of the trace that was ours."""
    above = by_id.get(span.parent_span_id)
    return [span.name] if above is None else [span.name, *_way(above, by_id)]


def _json_lines(folder):
    for name in ("serve.log", "worker.log"):
        for line in (folder / name).read_text().splitlines():
            if line.startswith("{"):
                yield line
