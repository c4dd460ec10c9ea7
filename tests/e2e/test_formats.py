"""Every format of one job, opened by processes that have its runtime and nothing else."""

import json
import subprocess
import sys

import pytest

from tests.e2e.alone import installed_alone
from tests.e2e.calls import accepted, ended

_LITERT = ["litert", "litert_fp16", "litert_int8", "litert_sparse"]
_FORMATS = ["keras", "keras_compact", *_LITERT, "onnx", "saved_model", "weights", "weights_int8"]
_SPEC = {
    "schedule": {"kind": "constant", "target_sparsity": 0.75},
    "layers": [{"type": "Conv2D", "granularity": {"kind": "channel"}}],
    "training": {"epochs": 1, "batch_size": 64},
    "artifacts": _FORMATS,
}

#: Print the share of test samples that each file is right about.
_BEGIN = """
import json, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
with np.load(sys.argv[2]) as data:
    x, y = data["x_test"].astype("float32").reshape(-1, 8, 8, 1), data["y_test"]
def told(answers): print(json.dumps(float((answers.argmax(axis=-1) == y).mean())))
"""
_BY_LITERT = """
from ai_edge_litert.interpreter import Interpreter
for path in sys.argv[3:]:
    run = Interpreter(path).get_signature_runner("serve")
    [name] = run.get_input_details()
    [answers] = run(**{name: x}).values()
    told(answers)
"""
_BY_ONNXRUNTIME = """
import onnxruntime
for path in sys.argv[3:]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    [answers] = session.run(None, {session.get_inputs()[0].name: x})
    told(answers)
"""
_BY_TENSORFLOW = """
import tempfile, zipfile
import tensorflow as tf
for path in sys.argv[3:]:
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(path).extractall(folder)
        serve = tf.saved_model.load(folder).signatures["serve"]
        [name] = serve.structured_input_signature[1]
        [answers] = serve(**{name: tf.constant(x)}).values()
        told(answers.numpy())
"""
_BY_KERAS = """
import keras
for path in sys.argv[3:]:
    told(keras.saving.load_model(path, safe_mode=True).predict(x, verbose=0))
"""


@pytest.fixture(scope="module")
def artifacts(client, files):
    """The figures of each file, by its format."""
    order = accepted(client, files / "digits.keras", files / "digits.npz", _SPEC)
    job = ended(client, order["id"])
    assert job["status"] == "succeeded", job
    assert not [each for each in job["warnings"] if each["code"] == "artifact_not_published"]
    url = f"/v1/jobs/{job['id']}/artifacts"
    return {each["format"]: each | {"url": f"{url}/{each['name']}"} for each in _of(job)}


def _of(job):
    return job["result"]["artifacts"]


def test_every_format_is_published_in_the_order_asked_for(artifacts):
    assert list(artifacts) == _FORMATS
    assert all(each["verified"] for each in artifacts.values())


@pytest.mark.parametrize(
    ("formats", "package", "script"),
    [
        pytest.param(_LITERT, "ai-edge-litert", _BY_LITERT, id="litert"),
        pytest.param(["onnx"], "onnxruntime", _BY_ONNXRUNTIME, id="onnx"),
        pytest.param(["saved_model"], "tensorflow-cpu", _BY_TENSORFLOW, id="saved_model"),
        pytest.param(["keras", "keras_compact"], "tensorflow-cpu", _BY_KERAS, id="keras"),
    ],
)
def test_its_own_runtime_alone_opens_it_and_is_as_often_right(
    client, files, artifacts, tmp_path, formats, package, script
):
    paths = []
    for form in formats:
        path = tmp_path / artifacts[form]["name"]
        path.write_bytes(client.get(artifacts[form]["url"]).raise_for_status().content)
        paths.append(str(path))
    alone = installed_alone(package, tmp_path / "alone")

    # -S: what is installed beside Python is not to be found.
    run = [sys.executable, "-I", "-S", "-c", _BEGIN + script, str(alone), files / "digits.npz"]
    completed = subprocess.run([*run, *paths], capture_output=True, text=True, check=False)

    assert completed.returncode == 0, completed.stderr
    accuracies = [json.loads(line) for line in completed.stdout.splitlines()]
    assert accuracies == pytest.approx(
        [artifacts[form]["metrics"]["accuracy"] for form in formats], abs=1e-6
    )


def test_what_is_run_has_no_filters_of_zeros(artifacts):
    whole, compact, litert = (artifacts[form] for form in ("keras", "keras_compact", "litert"))

    assert compact["nonzero"] < whole["nonzero"]
    assert litert["nonzero"] <= compact["nonzero"]
    assert compact["remarks"][0].startswith("Without the filters that are zero, ")


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_compressed_download_is_as_large_as_the_result_says(client, artifacts, encoding):
    artifact = artifacts["litert"]
    [form] = [each for each in artifact["compressed"] if each["encoding"] == encoding]

    with client.stream("GET", artifact["url"], headers={"Accept-Encoding": encoding}) as answer:
        body = b"".join(answer.iter_raw())

    assert answer.headers["Content-Encoding"] == encoding
    assert len(body) == form["bytes"] < artifact["bytes"]
