"""``/metrics``: the service in numbers, for Prometheus.

They are those of the whole service, from the database: each API process answers the same. No
label names a tenant, a job or a file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from app.api.backends import BackendsDep
from app.api.door import OPERATORS_ONLY
from app.api.errors import problem_responses
from app.jobs.census import Census, Counted, SeenWorker, Standing
from app.jobs.job import JobStatus, Stage
from app.jobs.lanes import Lane
from app.jobs.tallies import BOUNDS, Tally

router = APIRouter(tags=["operations"])

_UNFINISHED = [status for status in JobStatus if not status.is_final]
_FINAL = [status for status in JobStatus if status.is_final]


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **problem_responses(401, 429, 503),
    },
    dependencies=[OPERATORS_ONLY],
)
def scrape(request: Request, backends: BackendsDep) -> Response:
    """Show what waits, what runs, and what has been done, in the text format of Prometheus."""
    registry = CollectorRegistry()
    registry.register(CensusCollector(backends.store.census()))
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(registry), headers={"Content-Type": media_type})


class CensusCollector(Collector):
    """A census as metrics. What can be counted is there from the beginning, as 0."""

    def __init__(self, census: Census) -> None:
        self._census = census

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        yield from _jobs(self._census.unfinished)
        yield from _workers(self._census.workers)
        yield from _counters(self._census.counted)
        yield _histogram(
            "espalier_queue_wait_seconds",
            "From when a job was queued until a worker took it",
            self._of(Tally.WAITED),
            label=None,
            values=[""],
        )
        yield _histogram(
            "espalier_stage_seconds",
            "What a stage of a job took",
            self._of(Tally.STAGE),
            label="stage",
            values=["starting", *Stage],
        )

    def _of(self, tally: Tally) -> list[Counted]:
        return [row for row in self._census.counted if row.tally is tally]


def _jobs(standing: tuple[Standing, ...]) -> Iterator[Metric]:
    found = {(each.status, each.lane): each for each in standing}
    jobs = GaugeMetricFamily("espalier_jobs", "Jobs that have not ended", labels=["status", "lane"])
    waits = GaugeMetricFamily(
        "espalier_queue_oldest_wait_seconds",
        "How long the job has waited that has waited longest",
        labels=["lane"],
    )
    for lane in Lane:
        for status in _UNFINISHED:
            there = found.get((status, lane))
            jobs.add_metric([status, lane], 0 if there is None else there.jobs)
        queued = found.get((JobStatus.QUEUED, lane))
        waits.add_metric([lane], 0 if queued is None else queued.longest.total_seconds())
    yield jobs
    yield waits


def _workers(seen: tuple[SeenWorker, ...]) -> Iterator[Metric]:
    yield GaugeMetricFamily("espalier_workers", "Workers seen of late", value=len(seen))
    labels = ["host", "gpu", "name"]
    used = GaugeMetricFamily(
        "espalier_gpu_memory_used_bytes", "Memory of a worker's GPU that is taken", labels=labels
    )
    total = GaugeMetricFamily(
        "espalier_gpu_memory_total_bytes", "Memory of a worker's GPU", labels=labels
    )
    # Two workers may have the same one.
    devices = {
        (worker.name.rpartition("@")[2], device.id): device
        for worker in seen
        for device in worker.devices
    }
    for (host, gpu), device in devices.items():
        used.add_metric([host, gpu, device.name], device.used_bytes)
        total.add_metric([host, gpu, device.name], device.total_bytes)
    yield used
    yield total


def _counters(counted: tuple[Counted, ...]) -> Iterator[Metric]:
    rows = {(row.tally, row.label): row for row in counted}

    def count_of(tally: Tally, label: str = "") -> int:
        return rows[tally, label].count if (tally, label) in rows else 0

    def total_of(tally: Tally, label: str = "") -> float:
        return rows[tally, label].total if (tally, label) in rows else 0

    ended = CounterMetricFamily("espalier_jobs_ended", "Jobs that have ended", labels=["status"])
    for status in _FINAL:
        ended.add_metric([status], count_of(Tally.ENDED, status))
    yield ended
    yield CounterMetricFamily(
        "espalier_attempts_interrupted",
        "Attempts at a job whose runner or worker was lost",
        value=count_of(Tally.INTERRUPTED),
    )
    received = CounterMetricFamily(
        "espalier_received_bytes", "Bytes of uploaded files that were taken", labels=["kind"]
    )
    for kind in ("model", "dataset"):
        received.add_metric([kind], total_of(Tally.RECEIVED, kind))
    yield received
    yield CounterMetricFamily(
        "espalier_published_bytes",
        "Bytes of the files that jobs have made",
        value=total_of(Tally.PUBLISHED),
    )


def _histogram(
    name: str, text: str, rows: list[Counted], *, label: str | None, values: list[str]
) -> Metric:
    """Return durations as Prometheus counts them: each bucket with all those below it.

    Args:
        name: Of the metric.
        text: What it measures.
        rows: Of one tally.
        label: What tells the histograms of the tally apart; ``None`` where there is but one.
        values: Of the label.
    """
    counts: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (len(BOUNDS) + 1))
    sums: defaultdict[str, float] = defaultdict(float)
    for row in rows:
        counts[row.label][row.bucket] += row.count
        sums[row.label] += row.total
    family = HistogramMetricFamily(name, text, labels=[] if label is None else [label])
    for value in values:
        below = [sum(counts[value][: end + 1]) for end in range(len(BOUNDS) + 1)]
        bounds = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]
        family.add_metric(
            [] if label is None else [value],
            buckets=list(zip(bounds, map(float, below), strict=True)),
            sum_value=sums[value],
        )
    return family
