"""Jobs that do nothing, over more and more workers.

``python -m bench.scale`` starts the service (API, workers, broker, each a process) with runners
that stand in for the real ones: they answer every order and prune nothing, so a job is what
the service does around it. For 1, 2, 4 and 8 workers it queues jobs while the workers are held,
lets them go all at once, and counts from then to the last result. ``busy`` is how much of the
machine's cores was in use meanwhile, by whomever: where it is near 1, more workers cannot do more.
Beside it stands what a job costs in processor time, which says the same on a busy machine.

With one worker and no other job it measures what the service costs a job: the time from sending
the POST to the first step, and from the last step to the result. By turns with that, on the same
broker, a bare Celery worker is sent a task that does nothing; the ratio is that of the medians.

With ``--work-seconds`` each job also sleeps, as one does whose GPU works; with ``--servers`` the
service stands on PostgreSQL and an S3 store instead of SQLite, which lets in one writer at a time,
and a folder.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2

from bench.parts import Part
from bench.scale.bare import REDIS_URL, BareCelery
from bench.scale.worker import WORK_SECONDS
from bench.servers import Servers
from bench.service import Service

_WORKERS = (1, 2, 4, 8)
_MODEL = Path(__file__).parents[2] / "tests" / "data" / "small.keras"
_LOOK_SECONDS = 0.02
_PATIENCE_SECONDS = 300.0
#: Lines in a log for each poll are another measurement.
_QUIET = {"UVICORN_LOG_LEVEL": "warning", "ESPALIER_TENANT_MAX_JOBS": "100000"}


@dataclass(frozen=True)
class _Round:
    """Jobs over some workers."""

    workers: int
    jobs_per_second: float
    busy: float  #: Of all cores, in [0, 1].
    api_seconds: float  #: Processor time that the API took to accept a job.
    worker_seconds: float  #: Processor time that a job took in workers, runners left out.


@dataclass(frozen=True)
class _Cost:
    """What one job took beside its work, in seconds."""

    to_first_step: float
    to_result: float

    @property
    def seconds(self) -> float:
        return self.to_first_step + self.to_result


def main() -> None:
    """Measure, and print the table."""
    asked = _arguments()
    rounds: list[_Round] = []
    costs: list[_Cost] = []
    bare: list[float] = []
    for workers in _WORKERS:
        with _service(workers, asked) as (service, client, model_id):
            if workers == 1:
                costs, bare = _by_turns(service, client, model_id, asked.turns)
            rounds.append(_throughput(service, client, model_id, jobs=asked.jobs))
    _report(rounds, costs, bare)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=100, help="of each round")
    parser.add_argument("--turns", type=int, default=30, help="jobs and tasks one by one")
    parser.add_argument("--work-seconds", type=float, default=0.0, help="that each job sleeps")
    parser.add_argument("--servers", action="store_true", help="on PostgreSQL and S3")
    return parser.parse_args()


@contextmanager
def _service(
    workers: int, asked: argparse.Namespace
) -> Generator[tuple[Service, httpx2.Client, str]]:
    """Start everything, and upload the model; a first job on each worker warms it up."""
    with (
        TemporaryDirectory(prefix="espalier-") as name,
        Servers.running(Path(name)) if asked.servers else nullcontext() as servers,
        Service.running(
            Path(name),
            workers=workers,
            settings={**_QUIET, WORK_SECONDS: str(asked.work_seconds)},
            worker_module="bench.scale.worker",
            servers=servers,
        ) as service,
        httpx2.Client(base_url=service.url, timeout=60) as client,
    ):
        with _MODEL.open("rb") as model:
            answer = client.post("/v1/models", files={"model": ("small.keras", model)})
        model_id = answer.raise_for_status().json()["id"]
        _wait_for_workers(client, workers)
        for job_id in [_submit(client, model_id) for _ in range(2 * workers)]:
            _ended(client, job_id)
        yield service, client, model_id


def _wait_for_workers(client: httpx2.Client, workers: int) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while f"espalier_workers {workers}.0" not in client.get("/metrics").text:
        if time.monotonic() > deadline:
            message = f"{workers} workers must come up within {_PATIENCE_SECONDS:g} seconds"
            raise TimeoutError(message)
        time.sleep(_LOOK_SECONDS)


def _submit(client: httpx2.Client, model_id: str) -> str:
    return client.post("/v1/jobs", json={"model_id": model_id}).raise_for_status().json()["id"]


def _ended(client: httpx2.Client, job_id: str) -> dict[str, Any]:
    """Wait for the job; return it."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        job = client.get(f"/v1/jobs/{job_id}").raise_for_status().json()
        if job["status"] == "succeeded":
            return job
        if job["finished_at"] is not None:
            message = f"a job that does nothing must succeed. Received: {job['failure']}"
            raise RuntimeError(message)
        time.sleep(_LOOK_SECONDS)
    message = f"the job {job_id} must end within {_PATIENCE_SECONDS:g} seconds"
    raise TimeoutError(message)


def _throughput(service: Service, client: httpx2.Client, model_id: str, *, jobs: int) -> _Round:
    for worker in service.workers:
        worker.freeze()
    of_api = _spent(service.api.pid)
    ids = [_submit(client, model_id) for _ in range(jobs)]
    of_api = _spent(service.api.pid) - of_api
    of_workers = sum(_spent(worker.pid) for worker in service.workers)
    began, processor = time.time(), _processor_seconds()
    for worker in service.workers:
        worker.thaw()
    # Asked for the last one first, so that nobody is polled while there is much to do.
    finished = max(_moment(_ended(client, job_id)["finished_at"]) for job_id in reversed(ids))
    busy, idle = (now - then for now, then in zip(_processor_seconds(), processor, strict=True))
    of_workers = sum(_spent(worker.pid) for worker in service.workers) - of_workers
    return _Round(
        workers=len(service.workers),
        jobs_per_second=jobs / (finished - began),
        busy=busy / (busy + idle),
        api_seconds=of_api / jobs,
        worker_seconds=of_workers / jobs,
    )


def _spent(pid: int) -> float:
    """Return the processor time that a process has taken, its threads included."""
    # The name in parentheses can hold spaces; what follows it cannot.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _processor_seconds() -> tuple[float, float]:
    """Return what all cores have spent busy and idle so far, in ticks."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = ticks[3] + ticks[4]
    return sum(ticks) - idle, idle


def _by_turns(
    service: Service, client: httpx2.Client, model_id: str, turns: int
) -> tuple[list[_Cost], list[float]]:
    url = f"redis+socket://{service.broker_socket}"
    celery = Part(
        "bare Celery",
        (sys.executable, "-m", "bench.scale.bare"),
        environment={REDIS_URL: url},
        log=service.folder / "bare.log",
    )
    try:
        bare = BareCelery(url)
        bare.round_trip()
        measured = [(_cost(client, model_id), bare.round_trip()) for _ in range(turns)]
    finally:
        celery.stop()
    return [cost for cost, _ in measured], [seconds for _, seconds in measured]


def _cost(client: httpx2.Client, model_id: str) -> _Cost:
    sent = time.time()
    job_id = _submit(client, model_id)
    _ended(client, job_id)
    events = client.get(f"/v1/jobs/{job_id}/events").raise_for_status().json()
    steps = [_moment(event["at"]) for event in events if event["kind"] == "progress"]
    return _Cost(steps[0] - sent, _moment(events[-1]["at"]) - steps[-1])


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _report(rounds: Sequence[_Round], costs: Sequence[_Cost], bare: Sequence[float]) -> None:
    print(f"{'workers':<10}{'jobs a second':>15}{'busy':>8}{'API, ms CPU':>14}{'worker':>8}")
    for each in rounds:
        print(
            f"{each.workers:<10}{each.jobs_per_second:>15.2f}{each.busy:>8.2f}"
            f"{1000 * each.api_seconds:>14.1f}{1000 * each.worker_seconds:>8.1f}"
        )
    print(f"\n{'one job, ms':<28}{'median':>10}{'least':>10}{'most':>10}")
    _print_row("POST to first step", [cost.to_first_step for cost in costs])
    _print_row("last step to result", [cost.to_result for cost in costs])
    _print_row("both", [cost.seconds for cost in costs])
    _print_row("bare Celery, there and back", bare)
    ratio = statistics.median(cost.seconds for cost in costs) / statistics.median(bare)
    throughput = {str(each.workers): round(each.jobs_per_second, 2) for each in rounds}
    print(json.dumps({"throughput": throughput, "service_over_celery": round(ratio, 2)}))


def _print_row(name: str, seconds: Sequence[float]) -> None:
    figures = (statistics.median(seconds), min(seconds), max(seconds))
    print(f"{name:<28}" + "".join(f"{1000 * each:>10.1f}" for each in figures))


if __name__ == "__main__":
    main()
