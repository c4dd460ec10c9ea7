"""A job is done again from its bundle."""

import hashlib
import io
import json
import zipfile

from tests.e2e.calls import accepted, ended

_SPEC = {
    "schedule": {"kind": "polynomial_decay", "final_sparsity": 0.75, "frequency": 5},
    "training": {"epochs": 1, "batch_size": 64, "seed": 7},
}


def _bundle(client, job):
    assert job["status"] == "succeeded", job
    answer = client.get(f"/v1/jobs/{job['id']}/artifacts/bundle.zip").raise_for_status()
    return zipfile.ZipFile(io.BytesIO(answer.content))


def test_the_same_files_and_the_spec_of_the_bundle_give_the_same_masks(client, files):
    model, data = files / "digits.keras", files / "digits.npz"
    bundle = _bundle(client, ended(client, accepted(client, model, data, _SPEC)["id"]))

    spec = json.loads(bundle.read("spec.json"))
    again = _bundle(client, ended(client, accepted(client, model, data, spec)["id"]))

    assert again.read("masks.npz") == bundle.read("masks.npz")
    inputs = json.loads(bundle.read("run.json"))["inputs"]
    assert [inputs[kind]["sha256"] for kind in ("model", "data")] == [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in (model, data)
    ]
