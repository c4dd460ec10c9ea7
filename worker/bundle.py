"""The reproducibility bundle: what it takes to do a job again, and to see that the same came out.

A zip without dates and ids of the service: on one machine, equal runs give equal bytes.
"""

from __future__ import annotations

import json
import platform
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from app.jobs.job import FileRef, Job
from app.jobs.outlook import decisions
from app.jobs.result import JobResult
from app.jobs.spec import JobSpec
from app.jobs.uploads import ModelSummary
from pruning_core.decision import Prune
from pruning_core.schedule import Schedule

BUNDLE_NAME = "bundle.zip"

_README = """\
What this job was made from, and what came out. To do it again, post the same two files, whose
SHA-256 run.json has, with the same spec:

    curl -F model=@MODEL -F data=@DATA -F 'spec=<spec.json' ADDRESS/v1/jobs

spec.json      the settings, every default filled in, the seed among them
run.json       inputs and files by their hashes, versions, machine, steps, what was measured
schedule.json  for each schedule the tensors that follow it, and the sparsity of each mask update
masks.npz      for the tensor at place N of the "masks" in run.json, the array named N:
               np.unpackbits(array, count=size).reshape(shape) is 1 where a weight is not zero
"""

#: What can change a result to the last bit.
_PACKAGES = ("espalier", "h5py", "keras", "numpy", "tensorflow", "tensorflow-cpu")
#: When it is done, who is told, and how long it is kept, has nothing to do with what comes out.
_NOT_ABOUT_PRUNING = {"priority", "webhook", "retention_seconds"}
#: Of every member: the first that zip can hold.
_NO_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A job that is about to succeed."""

    job: Job
    spec: JobSpec  #: As carried out.
    model: ModelSummary
    total_steps: int
    result: JobResult
    masks: Path  #: Of the tensors that were pruned, in the order of ``result.layers``.


def write_bundle(path: Path, run: Run) -> None:
    """Write the bundle of ``run``."""
    texts = {
        "README.txt": _README,
        "spec.json": _json(run.spec.model_dump(mode="json", exclude=_NOT_ABOUT_PRUNING)),
        "run.json": _json(_description(run)),
        "schedule.json": _json(list(_traces(run))),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in texts.items():
            archive.writestr(_member(name), text)
        with run.masks.open("rb") as masks, archive.open(_member("masks.npz"), "w") as member:
            shutil.copyfileobj(masks, member)


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, date_time=_NO_DATE)
    member.compress_type = zipfile.ZIP_DEFLATED
    return member


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"


def _description(run: Run) -> dict[str, Any]:
    result = run.result
    return {
        "inputs": {"model": _input(run.job.model), "data": _input(run.job.dataset)},
        "seed": run.spec.training.seed,
        "total_steps": run.total_steps,
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": {"system": platform.system(), "architecture": platform.machine()},
        "baseline": result.baseline,
        "pruned": result.pruned,
        "sparsity": result.sparsity,
        "artifacts": [
            {"name": artifact.name, "bytes": artifact.bytes, "sha256": artifact.sha256}
            for artifact in result.artifacts
        ],
        "masks": [
            {"layer": layer.name, "weight": layer.weight, "shape": layer.shape}
            for layer in result.layers
            if layer.pruned
        ],
    }


def _input(file: FileRef | None) -> dict[str, Any] | None:
    if file is None:
        return None
    return {"filename": file.filename, "bytes": file.bytes, "sha256": file.sha256}


@cache
def _versions() -> Mapping[str, str]:
    """Return the version of each package that is here; to find one takes milliseconds."""
    found: dict[str, str] = {}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _traces(run: Run) -> Iterator[dict[str, Any]]:
    """Yield for each schedule who follows it, and every update that it makes."""
    followers: dict[Schedule, list[str]] = {}
    config = run.spec.pruning_config().resolved(run.total_steps)
    decided = decisions(run.model, config)
    for weight, decision in zip(run.model.weights, decided, strict=True):
        if isinstance(decision, Prune):
            name = f"{weight.layer}/{weight.weight}"
            followers.setdefault(decision.schedule, []).append(name)
    for schedule, tensors in followers.items():
        steps = updates(schedule, run.total_steps)
        yield {
            "schedule": asdict(schedule),
            "tensors": tensors,
            "updates": {
                "step": steps,
                "sparsity": [schedule.sparsity_at(step) for step in steps],
            },
        }


def updates(schedule: Schedule, total_steps: int) -> list[int]:
    """Return the steps up to ``total_steps`` after which masks are chosen, in order.

    >>> from pruning_core.schedule import PolynomialDecay
    >>> updates(PolynomialDecay(final_sparsity=0.8, end_step=25, frequency=10), 100)
    [0, 10, 20, 25]
    """
    steps: list[int] = []
    latest = schedule.last_update(total_steps)
    while latest is not None:
        steps.append(latest)
        latest = schedule.last_update(latest - 1)
    return steps[::-1]
