"""Events and history."""

import pytest

from app.jobs.errors import JobNotFoundError
from app.jobs.events import EventKind
from app.jobs.history import HistoryChunk, Scope, joined
from app.jobs.job import Failure, LayerProgress, Notice, Stage

FAILURE = Failure(code="training_diverged", message="The loss is NaN.", hint="Learn slower.")
CHANCE = Notice(code="baseline_at_chance", message="The model guesses.")


def told(mine, job_id, **options):
    return [(event.kind, event.data) for event in mine.events(job_id, **options)]


def test_every_change_of_a_job_is_told_in_order(store, mine, caller, progress):
    claim = caller.claimed()
    store.record(claim, stage=Stage.BASELINE, notices=[CHANCE])
    store.record(claim, stage=Stage.FINE_TUNING, progress=progress)
    store.fail(claim, FAILURE)

    assert told(mine, claim.job.id) == [
        (EventKind.STATUS, {"status": "queued", "failure": None}),
        (EventKind.STATUS, {"status": "running", "failure": None}),
        (EventKind.STAGE, {"stage": "baseline"}),
        (EventKind.WARNING, {"code": CHANCE.code, "message": CHANCE.message}),
        (EventKind.STAGE, {"stage": "fine_tuning"}),
        (EventKind.PROGRESS, progress.model_dump(exclude={"layers"})),
        (EventKind.STATUS, {"status": "failed", "failure": FAILURE.model_dump()}),
    ]


def test_the_warnings_of_a_new_job_are_told(mine, caller):
    job = caller.submit(warnings=(CHANCE,))

    assert [event.kind for event in mine.events(job.id)] == [EventKind.STATUS, EventKind.WARNING]


def test_what_did_not_change_is_not_told_again(store, mine, caller, progress):
    claim = caller.claimed()
    for _ in range(2):
        store.record(claim, stage=Stage.BASELINE, progress=progress, notices=[CHANCE])

    assert len(mine.events(claim.job.id)) == 2 + 3


def test_layers_are_told_when_they_have_changed_and_kept_in_the_job(store, mine, caller, progress):
    half = (LayerProgress(name="conv", weight="kernel", sparsity=0.5),)
    claim = caller.claimed()
    for step in (1, 2):
        store.record(claim, progress=progress.model_copy(update={"step": step, "layers": half}))
    store.record(claim, progress=progress.model_copy(update={"step": 3}))

    told_layers = [data.get("layers") for _, data in told(mine, claim.job.id) if "step" in data]
    assert told_layers == [[half[0].model_dump()], None, []]


def test_numbers_rise_by_one_over_all_attempts(store, mine, caller, clock, lease, progress):
    claim = caller.claimed()
    for _ in range(2):
        store.record(claim, stage=Stage.FINE_TUNING, progress=progress)
        store.hand_back(claim, "It died.")
        clock.advance(1)
        claim = store.claim(claim.job.id, worker="w", lease=lease)
    events = mine.events(claim.job.id)

    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert [event.at for event in events] == sorted(event.at for event in events)


def test_each_job_counts_for_itself(mine, caller):
    jobs = [caller.submit(), caller.submit()]

    assert [[event.number for event in mine.events(job.id)] for job in jobs] == [[1], [1]]


def test_events_are_read_on_from_any_number(store, mine, caller):
    claim = caller.claimed()
    for stage in Stage:
        store.record(claim, stage=stage)

    numbers = [event.number for event in mine.events(claim.job.id, after=3, limit=2)]

    assert numbers == [4, 5]
    assert mine.events(claim.job.id, after=100) == []


def test_the_events_of_a_job_that_never_was_are_not_found(mine):
    with pytest.raises(JobNotFoundError):
        mine.events("job_none")


def test_history_is_read_as_columns(store, mine, caller):
    claim = caller.claimed()
    chunks = [
        HistoryChunk(scope=Scope.STEP, columns={"step": (1, 2), "loss": (0.9, 0.8)}),
        HistoryChunk(scope=Scope.EPOCH, columns={"epoch": (1,), "loss": (0.85,)}),
        HistoryChunk(scope=Scope.STEP, columns={"step": (3,), "loss": (0.7,)}),
    ]
    for chunk in chunks:
        store.record(claim, history=[chunk])

    history = mine.history(claim.job.id)

    assert history.steps == {"step": (1, 2, 3), "loss": (0.9, 0.8, 0.7)}
    assert history.epochs == {"epoch": (1,), "loss": (0.85,)}


def test_steps_stay_whole_numbers(store, mine, caller):
    claim = caller.claimed()
    store.record(claim, history=[HistoryChunk(scope=Scope.STEP, columns={"step": (1, 2)})])

    written = mine.history(claim.job.id).model_dump_json()

    assert '"step":[1,2]' in written


def test_every_epoch_is_told_and_no_step(store, mine, caller):
    claim = caller.claimed()
    steps = HistoryChunk(scope=Scope.STEP, columns={"step": (1, 2)})
    epochs = HistoryChunk(scope=Scope.EPOCH, columns={"epoch": (1, 2), "loss": (0.9, 0.8)})

    store.record(claim, history=[steps, epochs])

    assert told(mine, claim.job.id, after=2) == [
        (EventKind.EPOCH, {"epoch": 1, "loss": 0.9}),
        (EventKind.EPOCH, {"epoch": 2, "loss": 0.8}),
    ]


def test_a_loss_that_is_not_finite_is_none(store, mine, caller):
    claim = caller.claimed()
    diverged = {"epoch": (1, 2, 3), "loss": (float("nan"), float("inf"), 1.0)}
    chunk = HistoryChunk(scope=Scope.EPOCH, columns=diverged)

    store.record(claim, history=[chunk])

    assert chunk.columns["loss"] == (None, None, 1.0)
    assert mine.history(claim.job.id).epochs["loss"] == (None, None, 1.0)
    assert told(mine, claim.job.id)[-2][1] == {"epoch": 2, "loss": None}


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="columns must have equally many rows"):
        HistoryChunk(scope=Scope.STEP, columns={"step": (1, 2), "loss": (0.5,)})


@pytest.mark.parametrize(
    ("chunks", "whole"),
    [
        pytest.param([], {}, id="nothing"),
        pytest.param([{}, {"a": (1,)}], {"a": (1,)}, id="an empty chunk"),
        pytest.param([{"a": (1,)}, {"b": (2,)}], {"a": (1, None), "b": (None, 2)}, id="gaps"),
    ],
)
def test_chunks_are_joined_row_below_row(chunks, whole):
    assert joined(chunks) == whole
