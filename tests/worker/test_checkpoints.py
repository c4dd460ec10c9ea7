"""Stopped anywhere and gone on with in another process: the same file, and the same history."""

import json
from threading import Event

import numpy as np
import pytest

from app.jobs.history import Scope, joined
from app.jobs.intake.dataset import summarise_dataset
from app.jobs.intake.model import summarise_model
from app.jobs.plan import plan
from app.jobs.spec import JobSpec
from worker.messages import Advanced, Checkpointed, PruneOrder, checkpoint_path

keras = pytest.importorskip("keras")
layers = keras.layers

#: Two epochs of three batches, the masks chosen anew at 0, 2 and 4.
_SPEC = {
    "schedule": {"kind": "polynomial_decay", "final_sparsity": 0.75, "end_step": 4, "frequency": 2},
    "training": {"epochs": 2, "batch_size": 16},
}
_STEPS = 6


class _Always(Event):
    """Somebody who never stops asking."""

    def is_set(self):
        return True


def _noisy():
    """What Keras keeps in no file: random numbers of two kinds."""
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.GaussianNoise(0.1),
            layers.Dense(8, "relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(3, "softmax"),
        ]
    )


class _Job:
    """Carries out the same order, from the beginning or from a checkpoint, as new processes do."""

    def __init__(self, folder, arrays, **training):
        keras.utils.set_random_seed(0)
        self.folder = folder
        self.model, self.dataset = folder / "uploaded.keras", folder / "dataset.npz"
        _noisy().save(self.model)
        np.savez(self.dataset, **arrays)
        spec = _SPEC | {"training": _SPEC["training"] | training}
        self.planned = plan(
            JobSpec.model_validate_json(json.dumps(spec)),
            summarise_model(self.model),
            summarise_dataset(self.dataset),
        )

    def run(self, name, *, checkpoint=None, asked=None):
        from worker.pruning import prune

        keras.backend.clear_session()
        # Another process has drawn other numbers by now.
        keras.utils.set_random_seed(len(name))
        run = _Run(self.folder / name)
        order = PruneOrder(
            folder=run.folder,
            model=self.model,
            dataset=self.dataset,
            artifact=run.folder / "model.keras",
            reference=run.folder / "reference.npz",
            spec=self.planned.spec,
            total_steps=self.planned.total_steps,
            checkpoint=checkpoint,
        )
        run.outcome = prune(order, run.reports.append, asked=asked)
        return run


class _Run:
    def __init__(self, folder):
        folder.mkdir()
        self.folder = folder
        self.reports = []

    @property
    def artifact(self):
        return (self.folder / "model.keras").read_bytes()

    @property
    def checkpoints(self):
        return [r.progress.step for r in self.reports if isinstance(r, Checkpointed)]

    def history(self, scope, *, up_to=_STEPS):
        """Return what was told by the report of the step ``up_to``."""
        told = [
            report
            for report in self.reports
            if isinstance(report, Advanced | Checkpointed) and report.progress.step <= up_to
        ]
        return [chunk.columns for r in told for chunk in r.history if chunk.scope is scope]


@pytest.fixture(scope="module")
def classes():
    """Forty samples of three classes; the last batch of an epoch is smaller."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(40, 6)).astype(np.float32)
    return {"x_train": x, "y_train": x[:, :3].argmax(1), "x_val": x[:9], "y_val": np.arange(9) % 3}


@pytest.fixture(scope="module")
def job(tmp_path_factory, classes):
    return _Job(tmp_path_factory.mktemp("job"), classes)


@pytest.fixture(scope="module")
def straight(job):
    """The job without a stop, written down after every batch."""
    return job.run("straight", asked=_Always())


def test_a_training_can_be_written_down_after_every_batch(straight):
    assert straight.checkpoints == list(range(1, _STEPS + 1))


def test_writing_it_down_changes_nothing(job, straight):
    undisturbed = job.run("undisturbed")

    assert undisturbed.checkpoints == [_STEPS]
    assert undisturbed.artifact == straight.artifact


@pytest.mark.parametrize("step", [1, 3, 5, 6], ids=lambda step: f"after step {step}")
def test_what_goes_on_from_a_checkpoint_ends_the_same(job, straight, step):
    written = checkpoint_path(straight.folder, step)

    resumed = job.run(f"resumed {step}", checkpoint=written)

    assert resumed.artifact == straight.artifact
    assert resumed.outcome == straight.outcome
    for scope in Scope:
        stitched = straight.history(scope, up_to=step) + resumed.history(scope)
        assert joined(stitched) == joined(straight.history(scope))


@pytest.mark.parametrize(
    "training",
    [
        pytest.param({"distillation": {"weight": 0.5}}, id="distillation"),
        pytest.param(
            {"optimizer": {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9}}, id="momentum"
        ),
    ],
)
def test_whatever_the_training_is(tmp_path, classes, training):
    job = _Job(tmp_path, classes, **training)
    straight = job.run("straight", asked=_Always())

    resumed = job.run("resumed", checkpoint=checkpoint_path(straight.folder, 4))

    assert resumed.artifact == straight.artifact


def test_without_labels_too(tmp_path, classes):
    job = _Job(tmp_path, {"x_train": classes["x_train"]})
    straight = job.run("straight", asked=_Always())

    resumed = job.run("resumed", checkpoint=checkpoint_path(straight.folder, 4))

    assert resumed.artifact == straight.artifact
    assert resumed.outcome == straight.outcome


def test_a_training_for_which_there_is_no_room_goes_on(job, straight, monkeypatch):
    def run_out_of_room(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("worker.checkpoints.write_checkpoint", run_out_of_room)

    full = job.run("full", asked=_Always())

    assert full.checkpoints == []
    assert full.artifact == straight.artifact
    assert joined(full.history(Scope.STEP)) == joined(straight.history(Scope.STEP))
