"""``espalier prune`` on the real service, over a connection that breaks."""

import hashlib
import json
import subprocess
import sys

import pytest

from tests.e2e.calls import ROOT, assert_sparse_to_the_last_weight
from tests.espalier.cable import Cable


@pytest.fixture(scope="module")
def pruned(address, files, tmp_path_factory):
    """What the command printed, and the folder with its files."""
    folder = tmp_path_factory.mktemp("pruned")
    model, data = files / "digits.keras", files / "digits.npz"
    with Cable(address) as cable:
        # In the answer to the order, in the stream of events, and in what follows it.
        cable.break_after(2_500, 2_000, 0, 4_000)
        completed = subprocess.run(
            [
                *(sys.executable, "-m", "app.cli", "prune", str(model), "--data", str(data)),
                *("--sparsity", "0.9", "--epochs", "8", "--json"),
                *("-o", str(folder), "--url", cable.address),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert cable.has_broken
    assert completed.returncode == 0, completed.stderr
    return completed, folder


def test_a_killed_connection_is_picked_up_again(pruned):
    job = json.loads(pruned[0].stdout)

    assert job["status"] == "succeeded"
    assert_sparse_to_the_last_weight(job, 0.9)


def test_what_was_downloaded_is_what_was_measured(pruned):
    completed, folder = pruned
    (artifact,) = json.loads(completed.stdout)["result"]["artifacts"]

    assert hashlib.sha256((folder / "model.keras").read_bytes()).hexdigest() == artifact["sha256"]
    assert json.loads((folder / "job.json").read_text()) == json.loads(completed.stdout)


def test_how_it_went_on_was_told_on_standard_error(pruned):
    stages = [line.split()[0] for line in pruned[0].stderr.splitlines()]

    assert {"fine-tuning", "succeeded"} <= set(stages)


def test_only_one_job_was_made(client, pruned):
    mine = json.loads(pruned[0].stdout)["model"]["id"]

    listed = client.get("/v1/jobs").json()["jobs"]

    assert [job["model"]["id"] for job in listed].count(mine) == 1
