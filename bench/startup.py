"""How long a caller waits for the first training step, over the time of importing TensorFlow.

``python -m bench.startup`` starts the service, and sends a small job to it several times, each time
to a runner that is warm and idle. The time runs from sending the POST to the event of the first
training step, both on this machine's clock; upload, static check, queue, baseline and the trace
of the training step are all in it. ``python -c "import tensorflow"`` is timed in the same run.
The last line is the median of the one over the median of the other; the aim is at most 0.25.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2

from app.local import running_service

_ROUNDS = 5
_SPEC = {
    "schedule": {"kind": "one_shot", "target_sparsity": 0.5},
    "training": {"epochs": 2, "batch_size": 32},
}
_PHASES = ("accepted", "claimed", "baseline", "fine_tuning", "first step")


def main() -> None:
    """Measure, and print the table."""
    with TemporaryDirectory(prefix="espalier-") as name, running_service(Path(name)) as address:
        folder = Path(name)
        _python("-m", "worker.demo_model", name)
        imports = [_python("-c", "import tensorflow") for _ in range(_ROUNDS)]
        # A spare runner imports TensorFlow and warms up while nobody waits for it.
        settle_seconds = 3 * max(imports)
        with httpx2.Client(base_url=address, timeout=60) as client:
            _run_job(client, folder)  # the first job also warms the file cache
            jobs = [_run_settled(client, folder, settle_seconds) for _ in range(_ROUNDS)]
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


def _run_settled(client: httpx2.Client, folder: Path, settle_seconds: float) -> dict[str, float]:
    time.sleep(settle_seconds)
    return _run_job(client, folder)


def _run_job(client: httpx2.Client, folder: Path) -> dict[str, float]:
    """Return when each phase of a job was reached, in seconds from sending the POST."""
    with (folder / "digits.keras").open("rb") as model, (folder / "digits.npz").open("rb") as data:
        sent = time.time()
        answer = client.post(
            "/v1/jobs",
            files={"model": ("digits.keras", model), "data": ("digits.npz", data)},
            data={"spec": json.dumps(_SPEC)},
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


def _report(imports: Sequence[float], jobs: Sequence[dict[str, float]]) -> None:
    import_seconds = statistics.median(imports)
    print(f"{'seconds from POST':<20}{'median':>8}{'least':>8}{'most':>8}{'/ import':>10}")
    for phase in _PHASES:
        _print_row(phase, [job[phase] for job in jobs], import_seconds)
    _print_row("import tensorflow", imports, import_seconds)
    ratio = statistics.median(job["first step"] for job in jobs) / import_seconds
    print(json.dumps({"post_to_first_step_over_import": round(ratio, 3)}))


def _print_row(name: str, seconds: Sequence[float], import_seconds: float) -> None:
    median = statistics.median(seconds)
    print(
        f"{name:<20}{median:>8.2f}{min(seconds):>8.2f}{max(seconds):>8.2f}"
        f"{median / import_seconds:>10.2f}"
    )


if __name__ == "__main__":
    main()
