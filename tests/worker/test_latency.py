import pytest

from app.jobs.result import Latency, Timing
from pruning_core.config import Block, Channel, Unstructured
from worker.latency import race, remark_on_speed


def test_both_are_called_in_turns():
    calls = []

    latency = race(lambda: calls.append("pruned"), lambda: calls.append("dense"), threads=2)

    assert calls == ["pruned", "dense"] * (len(calls) // 2)
    assert latency.threads == 2
    assert latency.pruned.median_ms > 0
    assert latency.dense.spread_ms >= 0


def _latency(pruned_ms, dense_ms, *, spread_ms=0.1):
    return Latency(
        threads=1,
        pruned=Timing(median_ms=pruned_ms, spread_ms=spread_ms),
        dense=Timing(median_ms=dense_ms, spread_ms=spread_ms),
    )


@pytest.mark.parametrize(
    ("latency", "form", "granularity", "words"),
    [
        pytest.param(
            _latency(1, 3), "litert_sparse", Block(), "it 3.0 times as fast", id="a third"
        ),
        pytest.param(
            _latency(1, 1), "litert", Unstructured(), "format litert_sparse skips", id="the same"
        ),
        pytest.param(
            _latency(1, 1.04), "onnx", Unstructured(), "made it no faster", id="hardly faster"
        ),
        pytest.param(
            _latency(1, 1.5, spread_ms=2.0),
            "litert",
            Unstructured(),
            "made it no faster",
            id="faster by chance",
        ),
        pytest.param(
            _latency(1, 1), "keras", Channel(), "keras_compact leaves them out", id="filters"
        ),
        pytest.param(
            _latency(1, 1), "onnx", Channel(), "time elsewhere than in the filters", id="few"
        ),
        pytest.param(
            _latency(1, 1),
            "litert_sparse",
            Unstructured(),
            "granularity block (4, 1) would be faster",
            id="sparse, weights one by one",
        ),
        pytest.param(
            _latency(1, 1),
            "litert_sparse",
            Block(block_size=(4, 1)),
            "spends its time elsewhere",
            id="sparse, in the blocks that help",
        ),
    ],
)
def test_it_is_said_whether_pruning_made_a_file_faster(latency, form, granularity, words):
    assert words in remark_on_speed([latency], granularity, form=form)
