"""What a caller does, in few words: post, wait, download, measure."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2

ROOT = Path(__file__).parents[2]
#: No job of these tests takes nearly as long; only a hang does.
PATIENCE_SECONDS = 240.0

Job = dict[str, Any]


def post(client: httpx2.Client, model: Path, data: Path, spec: dict | str) -> httpx2.Response:
    """Post the files and the spec as a form."""
    with model.open("rb") as model_file, data.open("rb") as data_file:
        return client.post(
            "/v1/jobs",
            files={"model": (model.name, model_file), "data": (data.name, data_file)},
            data={"spec": spec if isinstance(spec, str) else json.dumps(spec)},
        )


def accepted(client: httpx2.Client, model: Path, data: Path, spec: dict) -> Job:
    """Post, and return the job, which must have been accepted."""
    answer = post(client, model, data, spec)
    assert answer.status_code == 202, answer.text
    return answer.json()


def ended(client: httpx2.Client, job_id: str) -> Job:
    """Wait until the job is over, and return it."""
    return _wait(client, job_id, lambda job: job["status"] in {"succeeded", "failed", "cancelled"})


def training(client: httpx2.Client, job_id: str) -> Job:
    """Wait until the job has made a training step, and return it."""
    return _wait(client, job_id, lambda job: job["progress"] and job["progress"]["step"] > 0)


def paused(client: httpx2.Client, job_id: str) -> Job:
    """Wait until the job is set aside, and return it."""
    return _wait(client, job_id, lambda job: job["status"] == "paused")


def _wait(client: httpx2.Client, job_id: str, is_reached: Any) -> Job:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        job = client.get(f"/v1/jobs/{job_id}").raise_for_status().json()
        if is_reached(job):
            return job
        time.sleep(0.1)
    message = f"the job hangs: {job}"
    raise TimeoutError(message)


def download(client: httpx2.Client, job: Job, path: Path) -> Path:
    """Write the job's model to ``path``."""
    answer = client.get(f"/v1/jobs/{job['id']}/artifacts/model.keras").raise_for_status()
    path.write_bytes(answer.content)
    return path


def measured_by_plain_keras(pairs: Sequence[tuple[Path, Path]], cwd: Path) -> list[dict[str, Any]]:
    """Return what plain Keras finds in each model, on each dataset, in one fresh process.

    It runs in ``cwd``, isolated (``-I``), so nothing of the project is on its path by chance.
    """
    script = ROOT / "worker" / "plain_keras.py"
    arguments = [str(path) for pair in pairs for path in pair]
    completed = subprocess.run(
        [sys.executable, "-I", str(script), *arguments],
        cwd=cwd,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in completed.stdout.splitlines()]


def assert_sparse_to_the_last_weight(job: Job, sparsity: float) -> None:
    """Hold every pruned layer of the result against the exact count that was asked."""
    pruned = [layer for layer in job["result"]["layers"] if layer["pruned"]]
    assert pruned
    for layer in pruned:
        size = _size(layer["shape"])
        assert round(layer["sparsity"] * size) == round(sparsity * size), layer


def _size(shape: Sequence[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
