"""Models and data as people have them, through the confined processes of the real service."""

import json
import subprocess
import sys

import pytest

from tests.e2e.calls import ROOT, accepted, assert_sparse_to_the_last_weight, ended

_SPEC = {
    "schedule": {"kind": "constant", "target_sparsity": 0.5},
    "training": {"epochs": 1, "batch_size": 32},
}
_RECORDS = {
    "features": [{"name": "picture", "kind": "image"}, {"name": "label", "kind": "numbers"}]
}
#: A model, its data, and how those are read.
_ORDERS = {
    "a model of Keras 2 on a table": ("keras2_recurrent.h5", "steps.csv", {}),
    "records": ("digits.keras", "digits.tfrecord", _RECORDS),
}


@pytest.fixture(scope="module")
def jobs(client, files):
    """One job of each kind, all of them in the queue at once."""
    return {
        kind: accepted(client, files / model, files / data, _SPEC | {"data": reading})
        for kind, (model, data, reading) in _ORDERS.items()
    }


@pytest.mark.parametrize("kind", _ORDERS)
def test_it_comes_out_as_sparse_as_asked_and_measured(client, jobs, kind):
    job = ended(client, jobs[kind]["id"])

    assert job["status"] == "succeeded", job["failure"]
    assert_sparse_to_the_last_weight(job, 0.5)
    assert job["result"]["evaluated_on"] == {"split": "validation", "samples": 12}


def test_a_converted_model_says_how_far_its_answers_are_the_same(client, jobs):
    job = ended(client, jobs["a model of Keras 2 on a table"]["id"])

    said = {warning["code"]: warning["message"] for warning in job["warnings"]}
    assert "time_major is left out" in said["keras2_file"]
    assert "differ by at most" in said["keras2_converted"]


def test_the_command_takes_a_folder_of_images_for_each_class(address, files, tmp_path):
    model, data = files / "digits.keras", files / "digits.zip"

    completed = subprocess.run(
        [
            *(sys.executable, "-m", "app.cli", "prune", str(model), "--data", str(data)),
            *("--sparsity", "0.5", "--epochs", "1", "--json", "-o", str(tmp_path / "out")),
            *("--url", address),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert completed.returncode == 0, completed.stderr
    job = json.loads(completed.stdout)
    # Trained on these digits as arrays, it knows them as pictures.
    assert job["result"]["baseline"]["accuracy"] > 0.8
    assert (tmp_path / "out" / "model.keras").is_file()
