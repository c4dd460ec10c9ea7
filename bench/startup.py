"""How long a caller waits for the first training step, over the time of importing TensorFlow.

``python -m bench.startup`` starts the service, and sends jobs to it one by one, each to a runner
that is warm and idle. The time runs from sending the POST to the event of the first training
step, both on this machine's clock; upload, static check, queue, baseline and the trace of the
training step are all in it. ``python -c "import tensorflow"`` is timed in the same run, before
each job.

Two networks take turns: the small CNN (Conv 12 3x3, pool, Dense 10), on which the service's own
share is largest, and the demonstration's of 283,000 weights, whose own trace takes longer. The
last line is the median for the small one over the median of the import; the aim is at most 0.25.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2

from app.local import running_service

_ROUNDS = 5
_NETWORKS = ("small_cnn", "digits")
_SAVE_SMALL = "import sys; from bench.models import small_cnn; small_cnn(8).save(sys.argv[1])"
_PHASES = ("accepted", "claimed", "baseline", "fine_tuning", "first step")


def main() -> None:
    """Measure, and print the table."""
    with TemporaryDirectory(prefix="espalier-") as name, running_service(Path(name)) as address:
        folder = Path(name)
        _python("-m", "worker.demo_model", name)
        _python("-c", _SAVE_SMALL, str(folder / "small_cnn.keras"))
        imports: list[float] = []
        jobs: dict[str, list[dict[str, float]]] = {network: [] for network in _NETWORKS}
        with httpx2.Client(base_url=address, timeout=60) as client:
            for network in _NETWORKS:  # the first jobs also warm the file cache
                _run_job(client, folder, network)
            for network in _NETWORKS * _ROUNDS:
                imports.append(_python("-c", "import tensorflow"))
                # The spare runner imports TensorFlow and warms up while nobody waits for it.
                time.sleep(2 * max(imports))
                jobs[network].append(_run_job(client, folder, network))
    _report(imports, jobs)


def _python(*arguments: str) -> float:
    """Run Python on ``arguments``; return the seconds it took."""
    started = time.monotonic()
    subprocess.run(
        [sys.executable, *arguments],
        check=True,
        capture_output=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    return time.monotonic() - started


def _run_job(client: httpx2.Client, folder: Path, network: str) -> dict[str, float]:
    """Return when each phase of a job was reached, in seconds from sending the POST."""
    path = folder / f"{network}.keras"
    with path.open("rb") as model, (folder / "digits.npz").open("rb") as data:
        sent = time.time()
        answer = client.post(
            "/v1/jobs",
            files={"model": (path.name, model), "data": ("digits.npz", data)},
        )
        accepted = time.time()
    job_id = answer.raise_for_status().json()["id"]
    reached = {"accepted": accepted - sent}
    for event in _events(client, job_id):
        phase = _phase(event)
        if phase is not None:
            at = datetime.fromisoformat(event["at"]).timestamp()
            reached.setdefault(phase, at - sent)
    return {phase: reached[phase] for phase in _PHASES}


def _events(client: httpx2.Client, job_id: str) -> list[dict[str, Any]]:
    """Wait for the job to end; return what happened to it."""
    stream = {"Accept": "text/event-stream"}
    client.get(f"/v1/jobs/{job_id}/events", headers=stream, timeout=300).raise_for_status()
    return client.get(f"/v1/jobs/{job_id}/events").raise_for_status().json()


def _phase(event: dict[str, Any]) -> str | None:
    """Name the phase that the event begins; ``None`` if it begins none."""
    data = event["data"]
    match event["kind"]:
        case "status" if data["status"] == "running":
            return "claimed"
        case "stage":
            return data["stage"]
        case "progress" if data["step"] >= 1:
            return "first step"
        case _:
            return None


def _report(imports: Sequence[float], jobs: Mapping[str, Sequence[dict[str, float]]]) -> None:
    import_seconds = statistics.median(imports)
    for network, runs in jobs.items():
        print(f"{network + ', from POST':<24}{'median':>8}{'least':>8}{'most':>8}{'/ import':>10}")
        for phase in _PHASES:
            _print_row(f"  {phase}", [run[phase] for run in runs], import_seconds)
    _print_row("import tensorflow", imports, import_seconds)
    ratio = statistics.median(run["first step"] for run in jobs["small_cnn"]) / import_seconds
    print(json.dumps({"post_to_first_step_over_import": round(ratio, 3)}))


def _print_row(name: str, seconds: Sequence[float], import_seconds: float) -> None:
    median = statistics.median(seconds)
    print(
        f"{name:<24}{median:>8.2f}{min(seconds):>8.2f}{max(seconds):>8.2f}"
        f"{median / import_seconds:>10.2f}"
    )


if __name__ == "__main__":
    main()
