import pytest
from pydantic import ValidationError

from app.jobs.job import Failure, Notice, Progress, Stage
from app.jobs.spec import JobSpec
from pruning_core.catalogue import Layout
from pruning_core.config import NOfM
from worker.messages import (
    Advanced,
    Noticed,
    PlannedUnits,
    Pruned,
    PrunedTensor,
    PruneOrder,
    Ready,
    Refused,
    StageBegun,
    VerifyOrder,
    line_of,
    order_of,
    report_of,
)

_PROGRESS = Progress(step=1, total_steps=2, epoch=1, epochs=1, sparsity=0.5, eta_seconds=None)
_PRUNED = Pruned(
    tensors=(
        PrunedTensor(
            layer="dense",
            weight="kernel",
            shape=(8, 2),
            zeros=8,
            planned=PlannedUnits(granularity=NOfM(), layout=Layout((0,), (1,), 0), pruned=8),
            reason=None,
        ),
    ),
    least_zeros=8,
    objective=None,
    baseline={"loss": float("nan")},
    evaluated_on=None,
)


@pytest.mark.parametrize(
    "message",
    [
        Ready(),
        StageBegun(stage=Stage.BASELINE),
        Noticed(notice=Notice(code="c", message="several\nlines")),
        Refused(failure=Failure(code="c", message="m", hint="h")),
        Advanced(progress=_PROGRESS, history=()),
        _PRUNED,
    ],
    ids=lambda message: message.kind,
)
def test_a_report_travels_as_one_line(message):
    line = line_of(message)

    assert line.count(b"\n") == 1
    assert report_of(line) == message


def test_orders_travel_as_one_line(tmp_path):
    paths = {name: tmp_path / name for name in ("folder", "dataset", "artifact", "reference")}
    spec = JobSpec()

    prune = PruneOrder(**paths, model=tmp_path / "uploaded.h5", spec=spec, total_steps=3)
    verify = VerifyOrder(**paths, spec=spec, pruned=_PRUNED)

    assert order_of(line_of(prune)) == prune
    assert order_of(line_of(verify)) == verify


@pytest.mark.parametrize(
    "line",
    [b"", b"2026-11-22 some library prints", b'{"kind":"rumour"}', b'{"kind":"ready","x":1}'],
)
def test_nothing_else_is_taken_for_a_report(line):
    with pytest.raises(ValidationError):
        report_of(line)
