"""One model, the whole way: upload, queue, worker, fine-tuning, strip, download, figures."""

import hashlib
import json
import shutil
import subprocess
import time

import pytest

from tests.e2e.calls import (
    accepted,
    assert_sparse_to_the_last_weight,
    download,
    ended,
    measured_by_plain_keras,
)

_SPEC = {
    "schedule": {"kind": "polynomial_decay", "final_sparsity": 0.9, "frequency": 10},
    "training": {"epochs": 16, "batch_size": 32},
}


@pytest.fixture(scope="module")
def told(client, files):
    """What the event stream tells, live, from the acceptance of the job to its end."""
    job = accepted(client, files / "digits.keras", files / "digits.npz", _SPEC)
    return job["id"], _stream(client, job["id"])


@pytest.fixture(scope="module")
def job(client, told):
    """The finished job."""
    job = ended(client, told[0])
    assert job["status"] == "succeeded", job
    return job


@pytest.fixture(scope="module")
def pruned(client, job, tmp_path_factory):
    """The downloaded file."""
    return download(client, job, tmp_path_factory.mktemp("pruned") / "model.keras")


@pytest.fixture(scope="module")
def measured(files, pruned):
    """What plain Keras finds in the uploaded and in the downloaded file."""
    pairs = [(path, files / "digits.npz") for path in (files / "digits.keras", pruned)]
    return measured_by_plain_keras(pairs, cwd=pruned.parent)


def _stream(client, job_id, *, last_event_id=None):
    """Read the event stream to its end."""
    headers = {"Accept": "text/event-stream"}
    if last_event_id is not None:
        headers["Last-Event-ID"] = str(last_event_id)
    with client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers, timeout=120) as answer:
        lines = [line for line in answer.iter_lines() if line.startswith("data:")]
    return [json.loads(line.removeprefix("data:")) for line in lines]


def test_the_accuracies_in_the_job_are_what_plain_keras_measures(job, measured):
    before, after = measured

    assert job["result"]["baseline"]["accuracy"] == pytest.approx(before["accuracy"], abs=1e-6)
    assert job["result"]["pruned"]["accuracy"] == pytest.approx(after["accuracy"], abs=1e-6)
    assert job["result"]["evaluated_on"] == {"split": "test", "samples": 360}


def test_nine_tenths_of_the_weights_cost_little_accuracy(measured):
    before, after = measured

    assert before["accuracy"] > 0.95
    assert after["accuracy"] > before["accuracy"] - 0.03


def test_plain_keras_counts_the_target_to_the_last_weight(job, measured):
    kernels = [weight for weight in measured[1]["weights"] if weight["path"].endswith("kernel")]

    assert len(kernels) == 4
    assert [kernel["zeros"] for kernel in kernels] == [
        round(0.9 * kernel["size"]) for kernel in kernels
    ]
    assert_sparse_to_the_last_weight(job, 0.9)


def test_the_result_counts_what_plain_keras_counts(job, measured):
    weights = measured[1]["weights"]
    kernels = [weight for weight in weights if weight["path"].endswith("kernel")]
    parameters = job["result"]["parameters"]

    assert parameters["total"] == sum(weight["size"] for weight in weights)
    assert parameters["prunable"] == sum(kernel["size"] for kernel in kernels)
    assert parameters["nonzero"] == sum(weight["size"] - weight["zeros"] for weight in weights)


def test_the_file_is_under_a_quarter_of_what_it_was_without_its_optimizer(job, pruned):
    uploaded = job["result"]["uploaded"]

    assert pruned.stat().st_size < uploaded["bytes_without_optimizer"] / 4
    assert uploaded["bytes_without_optimizer"] < uploaded["bytes"] / 2


def test_the_artifact_is_described_as_it_is(job, pruned):
    (artifact,) = job["result"]["artifacts"]

    assert artifact["bytes"] == pruned.stat().st_size
    assert artifact["sha256"] == hashlib.sha256(pruned.read_bytes()).hexdigest()
    assert artifact["verified"] is True
    assert artifact["max_abs_error"] <= 1e-5


def test_the_live_stream_tells_the_whole_story(told):
    _, events = told

    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    stages = [event["data"]["stage"] for event in events if event["kind"] == "stage"]
    assert stages == ["validating", "baseline", "fine_tuning", "exporting", "verifying"]
    assert events[-1]["kind"] == "status"
    assert events[-1]["data"]["status"] == "succeeded"


def test_a_broken_stream_is_taken_up_where_it_broke(client, told):
    job_id, events = told

    later = _stream(client, job_id, last_event_id=events[2]["id"])

    assert later == events[3:]


def test_the_history_has_a_row_for_each_epoch(client, job):
    metrics = client.get(f"/v1/jobs/{job['id']}/metrics").json()

    assert list(metrics["epochs"]["epoch"]) == list(range(1, 17))
    assert metrics["steps"]["step"][-1] == job["progress"]["total_steps"]


def test_a_download_can_be_taken_up_in_the_middle(client, job, pruned):
    url = f"/v1/jobs/{job['id']}/artifacts/model.keras"
    content = pruned.read_bytes()
    middle = len(content) // 2

    first = client.get(url, headers={"Range": f"bytes=0-{middle - 1}"})
    rest = client.get(url, headers={"Range": f"bytes={middle}-", "If-Range": first.headers["ETag"]})

    assert (first.status_code, rest.status_code) == (206, 206)
    assert first.content + rest.content == content


def test_the_three_curl_lines(address, files, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("needs the program curl")
    shutil.copy(files / "digits.keras", tmp_path / "model.keras")
    shutil.copy(files / "digits.npz", tmp_path / "train.npz")
    uploaded = (tmp_path / "model.keras").stat().st_size
    spec = '{"schedule":{"kind":"polynomial_decay","final_sparsity":0.9},"training":{"epochs":2}}'

    posted = _curl(
        tmp_path,
        *("-F", "model=@model.keras", "-F", "data=@train.npz", "-F", f"spec={spec}"),
        f"{address}/v1/jobs",
    )
    job_id = json.loads(posted)["id"]
    job = _poll_by_curl(tmp_path, f"{address}/v1/jobs/{job_id}")
    # Beside the model that was uploaded, which curl would not write over.
    _curl(tmp_path, "-o", "pruned.keras", f"{address}/v1/jobs/{job_id}/artifacts/model.keras")

    assert job["status"] == "succeeded", job
    assert_sparse_to_the_last_weight(job, 0.9)
    assert (tmp_path / "pruned.keras").stat().st_size < uploaded / 4


def _poll_by_curl(folder, url):
    for _ in range(1200):
        job = json.loads(_curl(folder, url))
        if job["status"] in {"succeeded", "failed", "cancelled"}:
            return job
        time.sleep(0.2)
    pytest.fail(f"the job hangs: {job}")


def _curl(folder, *arguments):
    completed = subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", "60", *arguments],  # noqa: S607
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return completed.stdout
