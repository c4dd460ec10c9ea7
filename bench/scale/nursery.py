"""The nursery as it is, but for what it has forked: ``python -P -m bench.scale.nursery SECONDS``.

That is a stand-in for ``worker.runner``: it takes orders and answers them, and prunes nothing. It
is without TensorFlow, so that what is measured is the service around a runner. Its work takes the
given seconds; it sleeps them, as a runner does whose GPU is busy.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path

from worker import nursery, runner

_CONTENT = b"pruned"


def main() -> int:
    """Carry out one order, as far as its supervisor can see; return the exit status."""
    _say(kind="ready")
    line = sys.stdin.readline()
    if line:
        order = json.loads(line)
        if order["kind"] == "prune":
            _prune(order, float(sys.argv[1]))
        else:
            _verify()
    return 0


def _prune(order: dict[str, str], seconds: float) -> None:
    _say(kind="stage", stage="fine_tuning")
    _say_step(1)
    time.sleep(seconds)
    _say_step(2)
    Path(order["artifact"]).write_bytes(_CONTENT)
    Path(order["reference"]).write_bytes(b"answers")
    _say(kind="pruned", tensors=[], least_zeros=0, objective=None, baseline=None, evaluated_on=None)


def _say_step(step: int) -> None:
    progress = {"step": step, "total_steps": 2, "epoch": 1, "epochs": 1, "sparsity": 0.8}
    _say(kind="progress", progress={**progress, "eta_seconds": 0.0}, history=[])


def _verify() -> None:
    Path("masks.npz").write_bytes(b"masks")
    size = len(_CONTENT)
    artifact: dict[str, object] = {
        "name": "model.keras",
        "format": "keras",
        "bytes": size,
        "compressed_bytes": size,
        "sha256": hashlib.sha256(_CONTENT).hexdigest(),
        "verified": True,
        "max_abs_error": 0.0,
        "metrics": {},
        "latency_ms": 0.0,
    }
    parameters = {"total": 5, "prunable": 5, "nonzero": 1}
    _say(kind="verified", sparsity=0.8, parameters=parameters, layers=[], artifact=artifact)


def _say(**message: object) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    runner.prepare, runner.main = lambda: None, main
    sys.exit(nursery.main())
