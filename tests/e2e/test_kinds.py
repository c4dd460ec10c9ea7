"""Other kinds of model go the same way."""

import pytest

from tests.e2e.calls import (
    accepted,
    assert_sparse_to_the_last_weight,
    download,
    ended,
    measured_by_plain_keras,
)

#: A model's file, and the digits in the shape that it takes.
_KINDS = {
    "keras2_cnn.h5": "digits.npz",
    "two_inputs.keras": "halves.npz",
    "nested.keras": "digits.npz",
    "lstm.keras": "rows.npz",
}
_SPEC = {
    "schedule": {"kind": "constant", "target_sparsity": 0.75},
    "training": {"epochs": 1, "batch_size": 64},
}


@pytest.fixture(scope="module")
def jobs(client, files):
    """One job of each kind, all of them in the queue at once."""
    return {
        kind: accepted(client, files / kind, files / data, _SPEC) for kind, data in _KINDS.items()
    }


@pytest.fixture(scope="module")
def measured(client, files, jobs, tmp_path_factory):
    """What plain Keras finds in each downloaded file."""
    folder = tmp_path_factory.mktemp("kinds")
    pairs = [
        (download(client, ended(client, jobs[kind]["id"]), folder / f"{kind}.keras"), files / data)
        for kind, data in _KINDS.items()
    ]
    return dict(zip(_KINDS, measured_by_plain_keras(pairs, cwd=folder), strict=True))


@pytest.mark.parametrize("kind", _KINDS)
def test_it_comes_out_as_sparse_as_asked(client, jobs, kind):
    job = ended(client, jobs[kind]["id"])

    assert job["status"] == "succeeded", job
    assert_sparse_to_the_last_weight(job, 0.75)


@pytest.mark.parametrize("kind", _KINDS)
def test_its_figures_are_what_plain_keras_measures(client, jobs, measured, kind):
    result = ended(client, jobs[kind]["id"])["result"]

    assert result["pruned"]["accuracy"] == pytest.approx(measured[kind]["accuracy"], abs=1e-6)
    counted = sum(weight["size"] - weight["zeros"] for weight in measured[kind]["weights"])
    assert result["parameters"]["nonzero"] == counted


def test_a_pattern_here_and_a_ranking_there_come_out_as_planned(client, files):
    pattern = {"match": "attention", "granularity": {"kind": "n_of_m"}}
    rules = [{**pattern, "schedule": {"kind": "one_shot"}}]
    spec = {**_SPEC, "allocation": {"kind": "global"}, "layers": rules}

    job = ended(client, accepted(client, files / "attention.keras", files / "rows.npz", spec)["id"])

    assert job["status"] == "succeeded", job
    pruned = {layer["name"]: layer for layer in job["result"]["layers"] if layer["pruned"]}
    assert len(pruned) == 6
    hidden, classes = pruned.pop("hidden"), pruned.pop("classes")
    assert {layer["sparsity"] for layer in pruned.values()} == {0.5}
    zeros = round(hidden["sparsity"] * 64 * 32) + round(classes["sparsity"] * 32 * 10)
    assert zeros == round(0.75 * (64 * 32 + 32 * 10))
    assert hidden["sparsity"] > 0.75 > classes["sparsity"]


def test_without_labels_the_result_says_how_far_the_answers_are_the_same(client, files):
    order = accepted(client, files / "digits.keras", files / "unlabelled.npz", _SPEC)
    job = ended(client, order["id"])

    assert job["status"] == "succeeded", job
    assert job["warnings"][0]["code"] == "no_labels"
    result = job["result"]
    assert result["baseline"]["agreement"] == 1.0
    assert 0.8 < result["pruned"]["agreement"] < 1.0 + 1e-9
    assert "accuracy" not in result["pruned"]
    assert_sparse_to_the_last_weight(job, 0.75)
