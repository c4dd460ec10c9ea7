"""``python -m app.demo``: a real network goes through the real service and comes out pruned.

Starts API, worker and broker, trains a small convolutional network on handwritten digits, posts
it, follows the job, downloads the result, and measures both files with plain Keras in a process
that imports nothing of this project. The files stay in ``demo-output``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from app.local import ServiceNotStartedError, running_service

#: Share of each kernel's weights that goes.
TARGET = 0.9
SPEC = {
    "schedule": {"kind": "polynomial_decay", "final_sparsity": TARGET, "frequency": 10},
    "training": {"epochs": 12, "batch_size": 32},
}
OUTPUT = Path("demo-output")

_PLAIN_KERAS = Path(__file__).parents[1] / "worker" / "plain_keras.py"
_FINAL = {"succeeded", "failed", "cancelled"}
_POLL_SECONDS = 0.25

_Job = dict[str, Any]


class DemoFailedError(Exception):
    """A step of the demonstration did not end as it should; the message says which and why."""


@dataclass(frozen=True)
class Measured:
    """What plain Keras finds in one model file."""

    accuracy: float  #: On the test images.
    bytes: int
    kernels: int
    weights: int  #: In the kernels, which are what is pruned.
    zeros: int  #: Among them.
    wanted_zeros: int  #: The target's count: the rounded share of each kernel.

    @classmethod
    def of(cls, path: Path, answer: dict[str, Any]) -> Measured:
        """Sum up what ``worker/plain_keras.py`` answered about the file at ``path``."""
        kernels = [weight for weight in answer["weights"] if weight["path"].endswith("kernel")]
        return cls(
            accuracy=answer["accuracy"],
            bytes=path.stat().st_size,
            kernels=len(kernels),
            weights=sum(kernel["size"] for kernel in kernels),
            zeros=sum(kernel["zeros"] for kernel in kernels),
            wanted_zeros=sum(round(TARGET * kernel["size"]) for kernel in kernels),
        )


def main() -> None:
    """Run the demonstration; exit with 1 and a sentence when a step fails."""
    console = Console(highlight=False)
    try:
        _demonstrate(console)
    except (DemoFailedError, ServiceNotStartedError, httpx2.HTTPError) as error:
        message = f"The demonstration failed: {error}"
        console.print(message, style="red", markup=False, soft_wrap=True)
        sys.exit(1)


def _demonstrate(console: Console) -> None:
    OUTPUT.mkdir(exist_ok=True)
    model, data = OUTPUT / "digits.keras", OUTPUT / "digits.npz"
    pruned = OUTPUT / "digits-pruned.keras"
    with TemporaryDirectory(prefix="espalier-") as folder, running_service(Path(folder)) as address:
        console.print(f"Service: {address} (API, worker and broker, on this machine only)")
        console.print("Training a small network on 1,437 images of handwritten digits ...")
        _run("-m", "worker.demo_model", str(OUTPUT))
        with httpx2.Client(base_url=address, timeout=60) as client:
            job = _post(client, model, data)
            console.print(f"Job: {address}/v1/jobs/{job['id']}")
            job = _show(console, _follow(client, job["id"]))
            _download(client, job, pruned)
    (OUTPUT / "job.json").write_text(json.dumps(job, indent=2) + "\n")
    console.print("Measuring both files with plain Keras ...")
    _report(console, job, *_measure(data, model, pruned))


def _run(*arguments: str) -> str:
    """Run Python on ``arguments`` and return what it prints."""
    completed = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    if completed.returncode != 0:
        message = f"python {' '.join(arguments)} ended with {completed.returncode}:\n"
        raise DemoFailedError(message + completed.stderr[-2000:])
    return completed.stdout


def _post(client: httpx2.Client, model: Path, data: Path) -> _Job:
    with model.open("rb") as model_file, data.open("rb") as data_file:
        answer = client.post(
            "/v1/jobs",
            files={"model": (model.name, model_file), "data": (data.name, data_file)},
            data={"spec": json.dumps(SPEC)},
        )
    return answer.raise_for_status().json()


def _follow(client: httpx2.Client, job_id: str) -> Iterator[tuple[_Job, float | None]]:
    """Yield the job and its latest loss, until it is final."""
    while True:
        job = client.get(f"/v1/jobs/{job_id}").raise_for_status().json()
        yield job, _latest_loss(client, job_id)
        if job["status"] in _FINAL:
            return
        time.sleep(_POLL_SECONDS)


def _latest_loss(client: httpx2.Client, job_id: str) -> float | None:
    steps = client.get(f"/v1/jobs/{job_id}/metrics").raise_for_status().json()["steps"]
    return steps["loss"][-1] if steps.get("loss") else None


def _show(console: Console, moments: Iterable[tuple[_Job, float | None]]) -> _Job:
    """Show the job as it goes on, and return it as it ended."""
    job = _show_bar(console, moments) if console.is_terminal else _show_lines(console, moments)
    if job["status"] != "succeeded":
        failure = job["failure"] or {"message": "", "hint": ""}
        message = f"the job {job['status']}. {failure['message']} {failure['hint']}"
        raise DemoFailedError(message)
    return job


def _show_bar(console: Console, moments: Iterable[tuple[_Job, float | None]]) -> _Job:
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    job: _Job = {}
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("queued", total=None, figures="")
        for job, loss in moments:
            steps = job["progress"] or {"step": 0, "total_steps": None}
            progress.update(
                bar,
                description=_stage(job),
                completed=steps["step"],
                total=steps["total_steps"],
                figures=_figures(job, loss),
            )
    return job


def _show_lines(console: Console, moments: Iterable[tuple[_Job, float | None]]) -> _Job:
    """Print a line for each stage and each tenth of the training."""
    job: _Job = {}
    shown: tuple[str, int] | None = None
    for job, loss in moments:
        steps = job["progress"]
        tenth = 10 * steps["step"] // steps["total_steps"] if steps else 0
        if shown != (_stage(job), tenth):
            shown = (_stage(job), tenth)
            console.print(f"  {_stage(job):<12} {10 * tenth:>3} % {_figures(job, loss)}".rstrip())
    return job


def _stage(job: _Job) -> str:
    if job["status"] != "running":
        return job["status"]
    return (job["stage"] or "starting").replace("_", "-")


def _figures(job: _Job, loss: float | None) -> str:
    if not job["progress"]:
        return ""
    figures = f"sparsity {job['progress']['sparsity']:.3f}"
    if loss is not None:
        figures += f"  loss {loss:.3f}"
    if job["progress"]["eta_seconds"]:
        figures += f"  {job['progress']['eta_seconds']:.0f} s left"
    return figures


def _download(client: httpx2.Client, job: _Job, path: Path) -> None:
    with (
        client.stream("GET", f"/v1/jobs/{job['id']}/artifacts/model.keras") as answer,
        path.open("wb") as file,
    ):
        for chunk in answer.raise_for_status().iter_bytes():
            file.write(chunk)


def _measure(data: Path, *models: Path) -> list[Measured]:
    """Ask plain Keras, in a process of its own (``-I``: nothing of this folder can be imported)."""
    pairs = [str(path) for model in models for path in (model, data)]
    answers = _run("-I", str(_PLAIN_KERAS), *pairs).splitlines()
    return [
        Measured.of(path, json.loads(answer)) for path, answer in zip(models, answers, strict=True)
    ]


def _report(console: Console, job: _Job, before: Measured, after: Measured) -> None:
    samples = job["result"]["evaluated_on"]["samples"]
    without_optimizer = job["result"]["uploaded"]["bytes_without_optimizer"]
    table = Table("", title="Measured with plain Keras on the two files", title_justify="left")
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    table.add_row(
        f"accuracy on {samples} test images", f"{before.accuracy:.2%}", f"{after.accuracy:.2%}"
    )
    table.add_row("weights in kernels", f"{before.weights:,}", f"{after.weights:,}")
    table.add_row("zeros among them", f"{before.zeros:,}", f"{after.zeros:,}")
    table.add_row("bytes of the file", f"{before.bytes:,}", f"{after.bytes:,}")
    table.add_row("  without the optimizer", f"{without_optimizer:,}", f"{after.bytes:,}")
    console.print(table)

    if after.zeros != after.wanted_zeros:
        message = f"{after.wanted_zeros:,} zeros were asked for, {after.zeros:,} were counted"
        raise DemoFailedError(message)
    console.print(
        f"Sparsity {after.zeros / after.weights:.4f}, target {TARGET:.4f}: {after.zeros:,} zeros "
        f"counted in {after.kernels} kernels, equal to the target to the last weight."
    )
    console.print(f"The files are in {OUTPUT}/.")


if __name__ == "__main__":
    main()
