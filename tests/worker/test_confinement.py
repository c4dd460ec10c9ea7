"""Real runners in which the uploaded model has found a way to run code: one confined, one not."""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.jobs.spec import JobSpec
from tests.escapes import PROBES, SUBTLER, surroundings
from worker.messages import PruneOrder, Ready
from worker.runners import Runner
from worker.spawning import Nursery

_HOSTILE = (
    "from tests import escapes; escapes.be_a_hostile_runner({!r}); escapes.{}('worker.nursery')"
)


@dataclass(frozen=True)
class Seen:
    """What came of the escapes, and how the kernel saw the runner's threads before."""

    succeeded: list[str]
    threads: list[dict[str, str]]


def _seen(runner):
    assert runner.receive(timeout_seconds=120) == Ready()
    threads = [
        dict(re.findall(r"^(\w+):\s+(\S+)", status.read_text(), re.MULTILINE))
        for status in Path(f"/proc/{runner.pid}/task").glob("*/status")
    ]
    folder = runner.folder
    runner.give(
        PruneOrder(
            folder=folder,
            model=folder / "uploaded.keras",
            dataset=None,
            artifact=folder / "model.keras",
            reference=folder / "reference.npz",
            spec=JobSpec(),
            total_steps=0,
        )
    )
    report = runner.receive(timeout_seconds=60)
    return Seen(json.loads(report.notice.message), threads)


@pytest.fixture(scope="module")
def runners(tmp_path_factory):
    """What was seen of both, by the function that started them."""
    work = tmp_path_factory.mktemp("work")
    with surroundings(tmp_path_factory.mktemp("another")) as around:

        def seen(how):
            script = _HOSTILE.format(around.arguments, how)
            command = (sys.executable, "-P", "-c", script)
            with (
                Nursery(work / "nursery", command=command) as nursery,
                Runner(work, spawn=nursery.spawn) as runner,
            ):
                return _seen(runner)

        return {"confined": seen("run"), "unconfined": seen("run_unconfined")}


@pytest.mark.parametrize("escape", [escape.__name__ for escape in (*PROBES, *SUBTLER)])
def test_what_succeeds_in_any_other_process_fails_in_a_runner(runners, escape):
    assert escape in runners["unconfined"].succeeded
    assert escape not in runners["confined"].succeeded


def test_every_thread_of_a_runner_is_confined(runners):
    threads = runners["confined"].threads

    assert len(threads) > 1
    for thread in threads:
        confined = {name: thread[name] for name in ("Seccomp", "NoNewPrivs", "CapEff", "CapPrm")}
        assert confined == {
            "Seccomp": "2",
            "NoNewPrivs": "1",
            "CapEff": "0" * 16,
            "CapPrm": "0" * 16,
        }
