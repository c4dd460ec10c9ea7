import pytest

from app.jobs.result import EvaluatedOn, JobResult, ParameterCounts, Uploaded
from app.jobs.spec import JobSpec
from worker.advice import advice


def notices(before, after, *, samples=360, sparsity=0.9, steps=24):
    result = JobResult(
        baseline=before,
        pruned=after,
        evaluated_on=EvaluatedOn(split="test", samples=samples),
        sparsity=sparsity,
        uploaded=Uploaded(bytes=1, bytes_without_optimizer=1),
        parameters=ParameterCounts(total=1, prunable=1, nonzero=1),
        layers=(),
        artifacts=(),
    )
    return list(advice(result, JobSpec(), total_steps=steps))


def test_a_fall_after_a_short_training_asks_for_a_longer_one():
    [notice] = notices({"accuracy": 0.989}, {"accuracy": 0.8})

    assert notice.code == "accuracy_fell"
    assert notice.message == (
        "The accuracy fell from 98.9% to 80.0%. What helps, most of all the first: a longer "
        "training than 24 steps (more training.epochs, or a training.batch_size below 128); "
        "a sparsity below 90%."
    )


def test_a_fall_after_a_long_training_at_a_high_sparsity_asks_for_what_helps_there():
    [notice] = notices({"accuracy": 0.85}, {"accuracy": 0.7}, sparsity=0.99, steps=5000)

    assert "longer" not in notice.message
    assert "first: what docs/pruning.md has for high sparsity" in notice.message


@pytest.mark.parametrize(
    ("before", "after", "samples"),
    [
        pytest.param({"accuracy": 0.9}, {"accuracy": 0.95}, 360, id="it rose"),
        pytest.param({"accuracy": 0.99}, {"accuracy": 0.975}, 10_000, id="within two points"),
        pytest.param({"accuracy": 0.8}, {"accuracy": 0.7}, 20, id="within what chance explains"),
        pytest.param({"loss": 1.0}, {"loss": 9.0}, 360, id="no accuracy"),
        pytest.param({"accuracy": None}, {"accuracy": 0.1}, 360, id="no number"),
        pytest.param(None, None, 360, id="not measured"),
    ],
)
def test_nothing_is_said_where_nothing_fell(before, after, samples):
    assert notices(before, after, samples=samples) == []
