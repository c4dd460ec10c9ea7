import io

import pytest
from rich.console import Console

from espalier.display import as_html, show
from espalier.records import JobState, Moment, Progress

QUEUED = {
    "id": "job_1",
    "status": "queued",
    "stage": None,
    "created_at": "2026-11-22T12:00:00Z",
    "started_at": None,
    "finished_at": None,
    "progress": None,
    "model": {"id": "mdl_1", "filename": "cnn.keras", "bytes": 1, "sha256": ""},
    "dataset": None,
    "spec": {},
    "warnings": [],
    "failure": None,
    "result": None,
}


def moment(*, step=None, loss=None, **changes):
    progress = None
    if step is not None:
        progress = Progress(
            step=step,
            total_steps=20,
            epoch=1,
            epochs=1,
            sparsity=step / 40,
            eta_seconds=20.0 - step,
        )
    return Moment(JobState.model_validate({**QUEUED, **changes, "progress": progress}), loss)


def running(step, loss=0.25):
    return moment(step=step, loss=loss, status="running", stage="fine_tuning")


STORY = [
    moment(),
    moment(status="running", stage="baseline"),
    *(running(step) for step in range(1, 21)),
    moment(step=20, status="succeeded", stage="verifying", loss=0.25),
]


@pytest.fixture
def shown():
    """Return a function that shows moments and returns what can be read."""

    def show_to(moments, **console):
        page = io.StringIO()
        show(moments, Console(file=page, width=100, **console))
        return page.getvalue()

    return show_to


def test_a_log_has_a_line_for_each_stage_and_each_tenth(shown):
    lines = shown(STORY).splitlines()

    assert lines[:2] == ["queued         0 %", "baseline       0 %"]
    assert lines[7] == "fine-tuning   50 % sparsity 0.250  loss 0.25  10 s left"
    assert lines[-1] == "succeeded    100 % sparsity 0.500  loss 0.25"
    assert len(lines) == 2 + 11 + 1


def test_a_terminal_shows_step_sparsity_loss_and_time_left(shown):
    bar = shown([running(10)], force_terminal=True, color_system=None)

    assert "fine-tuning" in bar
    assert "10/20 sparsity 0.250  loss 0.25  10 s left" in bar


def test_a_notebook_is_shown_text_and_never_markup_of_a_file():
    name = "<img src=x onerror=alert(1)>.keras"
    hostile = moment(model={**QUEUED["model"], "filename": name})

    assert "<img" not in as_html(hostile)
    assert "&lt;img" in as_html(hostile)


def test_a_notebook_shows_how_far_it_is_and_at_the_end_no_bar():
    assert 'value="10" max="20"' in as_html(running(10))
    assert "<progress" not in as_html(STORY[-1])
