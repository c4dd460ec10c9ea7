"""Event files, read by TensorFlow itself, which checks every record."""

from datetime import UTC, datetime

import pytest

from app.jobs.history import History
from worker.event_files import event_file_name, write_event_file

pytest.importorskip("tensorflow")

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HISTORY = History(
    steps={"step": (1, 2, 300), "sparsity": (0.0, 0.5, 0.75), "loss": (0.5, None, 0.25)},
    epochs={"epoch": (1, 2), "loss": (0.5, 0.25), "val_loss": (0.75, 0.375)},
)


def _read(path):
    import tensorflow as tf

    # It fails at a record whose checksum is not that of its bytes.
    records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    return [tf.compat.v1.Event.FromString(record) for record in records]


def _curves(events):
    curves = {}
    for event in events:
        for value in event.summary.value:
            curves.setdefault(value.tag, []).append((event.step, value.simple_value))
    return curves


@pytest.fixture
def events(tmp_path):
    path = tmp_path / event_file_name("job_1")
    write_event_file(path, HISTORY, steps_per_epoch=150, at=NOON)
    return _read(path)


def test_it_begins_with_the_version_that_tensorboard_asks_for(events):
    assert events[0].file_version == "brain.Event:2"


def test_every_column_is_a_curve(events):
    curves = _curves(events)

    assert curves["sparsity"] == [(1, 0.0), (2, 0.5), (300, 0.75)]
    assert set(curves) == {"sparsity", "loss", "val_loss"}


def test_what_was_not_finite_is_left_out(events):
    assert _curves(events)["loss"] == [(1, 0.5), (300, 0.25)]


def test_what_was_held_out_stands_at_the_end_of_its_epoch(events):
    assert _curves(events)["val_loss"] == [(150, 0.75), (300, 0.375)]


def test_every_point_has_the_time_at_which_the_job_began(events):
    assert {event.wall_time for event in events} == {NOON.timestamp()}


def test_a_figure_beyond_single_precision_is_left_out(tmp_path):
    history = History(steps={"step": (1, 2), "loss": (1e300, 1.0)}, epochs={})

    write_event_file(tmp_path / "file", history, steps_per_epoch=2, at=NOON)

    assert _curves(_read(tmp_path / "file"))["loss"] == [(2, 1.0)]


def test_a_name_in_another_script_is_kept(tmp_path):
    history = History(steps={"step": (1,), "точность": (0.5,)}, epochs={})

    write_event_file(tmp_path / "file", history, steps_per_epoch=1, at=NOON)

    assert set(_curves(_read(tmp_path / "file"))) == {"точность"}


def test_tensorboard_looks_for_the_name():
    assert "tfevents" in event_file_name("job_1")
