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
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from app.local import ServiceNotStartedError, running_service
from espalier import Client, ClientError, Result
from espalier.display import show

#: Share of each kernel's weights that goes.
TARGET = 0.9
SPEC = {
    "schedule": {"kind": "polynomial_decay", "final_sparsity": TARGET, "frequency": 10},
    "training": {"epochs": 12, "batch_size": 32},
}
OUTPUT = Path("demo-output")

_PLAIN_KERAS = Path(__file__).parents[1] / "worker" / "plain_keras.py"


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
    except (DemoFailedError, ServiceNotStartedError, ClientError) as error:
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
        with Client(address) as client:
            job = client.prune(model, data, SPEC)
            console.print(f"Job: {address}/jobs/{job.id}")
            show(job.moments(), console)
            result = job.succeeded().result
            assert result is not None, "a job that succeeded has a result"
            job.download(OUTPUT, name="model.keras")[0].replace(pruned)
    (OUTPUT / "job.json").write_text(job.state.model_dump_json(indent=2) + "\n")
    console.print("Measuring both files with plain Keras ...")
    _report(console, result, *_measure(data, model, pruned))


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


def _measure(data: Path, *models: Path) -> list[Measured]:
    """Ask plain Keras, in a process of its own (``-I``: nothing of this folder can be imported)."""
    pairs = [str(path) for model in models for path in (model, data)]
    answers = _run("-I", str(_PLAIN_KERAS), *pairs).splitlines()
    return [
        Measured.of(path, json.loads(answer)) for path, answer in zip(models, answers, strict=True)
    ]


def _report(console: Console, result: Result, before: Measured, after: Measured) -> None:
    assert result.evaluated_on is not None, "the digits have a test part"
    samples = result.evaluated_on.samples
    without_optimizer = result.uploaded.bytes_without_optimizer
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
