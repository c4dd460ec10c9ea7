"""What cannot be taken is refused in words, and the next good job is served."""

import shutil

import numpy as np
import pytest

from tests.e2e.calls import accepted, ended, post

_GOOD = {"training": {"epochs": 1}, "schedule": {"kind": "one_shot", "target_sparsity": 0.5}}


def _no_model(files, folder):
    path = folder / "model.keras"
    path.write_text("not a model, though it is called one")
    return path, files / "digits.npz"


def _truncated(files, folder):
    path = folder / "model.keras"
    content = (files / "digits.keras").read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path, files / "digits.npz"


def _with_lambda(files, folder):
    return shutil.copy(files / "lambda.keras", folder / "model.keras"), files / "digits.npz"


def _object_arrays(files, folder):
    return _with_data(files, folder, x_train=np.array([{}, []], dtype=object), y_train=np.zeros(2))


def _unequal_lengths(files, folder):
    images = np.zeros((20, 8, 8, 1), "uint8")
    return _with_data(files, folder, x_train=images, y_train=np.zeros(19, "uint8"))


def _label_outside(files, folder):
    images = np.zeros((20, 8, 8, 1), "uint8")
    return _with_data(files, folder, x_train=images, y_train=np.full(20, 10, "uint8"))


def _with_data(files, folder, **arrays):
    np.savez(folder / "data.npz", **arrays)
    return files / "digits.keras", folder / "data.npz"


_FILES = [_no_model, _truncated, _with_lambda, _object_arrays, _unequal_lengths, _label_outside]

_SPECS = [
    pytest.param({"schedul": {}}, "/schedul", id="an unknown field"),
    pytest.param(
        {"schedule": {"kind": "polynomial_decay", "final_sparcity": 0.5}},
        "/schedule/final_sparcity",
        id="a misspelt field",
    ),
    pytest.param(
        {"schedule": {"kind": "polynomial_decay", "final_sparsity": 50}},
        "/schedule/final_sparsity",
        id="a percentage",
    ),
    pytest.param(
        {"schedule": {"kind": "constant", "target_sparsity": 1.0}},
        "/schedule/target_sparsity",
        id="everything",
    ),
    pytest.param(
        {"schedule": {"kind": "polynomial_decay", "end_step": 10**6}},
        "/schedule/end_step",
        id="more steps than there are",
    ),
    pytest.param("{", "", id="no JSON"),
]


@pytest.mark.parametrize("make", _FILES, ids=lambda make: make.__name__.strip("_"))
def test_a_bad_file_is_refused_with_a_code_and_a_sentence(client, files, tmp_path, make):
    answer = post(client, *make(files, tmp_path), {})

    problem = answer.json()
    assert 400 <= answer.status_code < 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert problem["code"]
    assert len(problem["detail"].split()) > 5


@pytest.mark.parametrize(("spec", "pointer"), _SPECS)
def test_a_bad_spec_is_refused_at_the_field(client, files, spec, pointer):
    answer = post(client, files / "digits.keras", files / "digits.npz", spec)

    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_refused_orders_leave_no_job_behind(client, files, tmp_path):
    before = client.get("/v1/jobs").json()["jobs"]

    for make in _FILES:
        post(client, *make(files, tmp_path), {})

    assert client.get("/v1/jobs").json()["jobs"] == before


def test_the_next_good_job_is_served_as_if_nothing_had_been(client, files, tmp_path):
    for make in _FILES:
        post(client, *make(files, tmp_path), {})

    job = accepted(client, files / "digits.keras", files / "digits.npz", _GOOD)

    assert ended(client, job["id"])["status"] == "succeeded"
