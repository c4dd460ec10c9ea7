import hashlib
import json
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from app.jobs.intake.model import summarise_model
from app.jobs.job import FileRef, Job
from app.jobs.result import EvaluatedOn, JobResult, LayerSparsity, ParameterCounts, Uploaded
from app.jobs.spec import parse_spec
from worker.bundle import Run, write_bundle
from worker.masks import write_masks

MODEL = Path(__file__).parents[1] / "data" / "small.keras"
#: Of the two layers of the model, each follows a schedule of its own.
SPEC = {
    "schedule": {
        "kind": "polynomial_decay",
        "final_sparsity": 0.75,
        "end_step": 5,
        "frequency": 3,
        "power": 1,
    },
    "layers": [
        {
            "match": "classes",
            "schedule": {"kind": "one_shot", "begin_step": 3, "target_sparsity": 0.5},
        }
    ],
    "training": {"seed": 7},
}


@pytest.fixture
def run(tmp_path):
    """A run of ten steps, as the supervisor has it in the end."""
    ref = FileRef(id="mdl_1", filename="m.keras", bytes=5, sha256="a" * 64)
    write_masks(tmp_path / "masks.npz", [np.eye(3)])
    spec = parse_spec(json.dumps(SPEC))
    return Run(
        job=Job(id="job_1", created_at=datetime.now(UTC), model=ref, spec=spec),
        spec=spec,
        model=summarise_model(MODEL),
        total_steps=10,
        result=JobResult(
            baseline={"accuracy": 0.9},
            pruned={"accuracy": 0.875},
            evaluated_on=EvaluatedOn(split="test", samples=10),
            sparsity=0.75,
            uploaded=Uploaded(bytes=5, bytes_without_optimizer=4),
            parameters=ParameterCounts(total=9, prunable=9, nonzero=3),
            layers=(_layer("classes", pruned=False), _layer("hidden", pruned=True)),
            artifacts=(),
        ),
        masks=tmp_path / "masks.npz",
    )


def _layer(name, *, pruned):
    reason = None if pruned else "too small"
    return LayerSparsity(
        name=name, weight="kernel", shape=(3, 3), sparsity=0.75, pruned=pruned, reason=reason
    )


@pytest.fixture
def bundle(run, tmp_path):
    write_bundle(tmp_path / "bundle.zip", run)
    with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
        yield archive


def test_its_spec_is_the_spec_of_the_job(bundle, run):
    assert parse_spec(bundle.read("spec.json")) == run.spec


def test_it_names_the_inputs_by_their_hashes(bundle):
    inputs = json.loads(bundle.read("run.json"))["inputs"]

    assert inputs == {
        "model": {"filename": "m.keras", "bytes": 5, "sha256": "a" * 64},
        "data": None,
    }


def test_it_names_what_can_change_a_result(bundle):
    description = json.loads(bundle.read("run.json"))

    assert description["seed"] == 7
    assert {"python", "keras", "numpy"} <= set(description["versions"])
    assert set(description["machine"]) == {"system", "architecture"}


def test_it_traces_every_schedule_by_step(bundle):
    first, second = json.loads(bundle.read("schedule.json"))

    assert first["tensors"] == ["hidden/kernel"]
    assert first["updates"] == {"step": [0, 3, 5], "sparsity": [0.0, pytest.approx(0.45), 0.75]}
    assert second["tensors"] == ["classes/kernel"]
    assert second["updates"] == {"step": [3], "sparsity": [0.5]}


def test_its_masks_can_be_read_as_the_readme_says(bundle, tmp_path):
    masks = json.loads(bundle.read("run.json"))["masks"]
    [mask] = masks
    with np.load(bundle.extract("masks.npz", tmp_path / "extracted")) as arrays:
        bits = np.unpackbits(arrays["0"], count=9).reshape(mask["shape"])

    assert (mask["layer"], mask["weight"]) == ("hidden", "kernel")
    assert np.array_equal(bits, np.eye(3))


def test_every_member_is_in_the_readme(bundle):
    readme = bundle.read("README.txt").decode()

    assert all(name in readme for name in bundle.namelist() if name != "README.txt")


def test_equal_runs_give_equal_bytes_whoever_ran_them(run, tmp_path):
    other = run.job.model_copy(update={"id": "job_2", "created_at": datetime.now(UTC)})
    paths = [tmp_path / "one.zip", tmp_path / "other.zip"]

    for path, job in zip(paths, (run.job, other), strict=True):
        write_bundle(path, replace(run, job=job))

    assert len({hashlib.sha256(path.read_bytes()).digest() for path in paths}) == 1
