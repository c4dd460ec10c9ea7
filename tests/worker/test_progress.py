import pytest

from app.jobs.job import LayerProgress
from worker.errors import RefusedError

pytest.importorskip("keras")


class _Training:
    """Steps of a tenth of a second, told to the callback as Keras does."""

    def __init__(self, *, epochs, steps_per_epoch):
        from worker.progress import ProgressReports

        self.told = []
        self.counted = []
        self.now = 0.0
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.callback = ProgressReports(
            self.told.append,
            total_steps=epochs * steps_per_epoch,
            epochs=epochs,
            sparsity_at=lambda step: step // 10 / 1e6,
            count_layers=self.count_layers,
            clock=lambda: self.now,
        )

    def run(self, loss=0.5):
        for epoch in range(self.epochs):
            self.callback.on_epoch_begin(epoch)
            for batch in range(self.steps_per_epoch):
                self.now += 0.1
                self.callback.on_train_batch_end(batch, {"loss": loss})
            self.callback.on_epoch_end(epoch, {"loss": loss})
        return self

    def count_layers(self):
        self.counted.append(self.callback.steps)
        sparsity = len(self.counted) / 10
        return (LayerProgress(name="dense", weight="kernel", sparsity=sparsity),)

    def rows(self, scope):
        return [
            row
            for report in self.told
            for chunk in report.history
            if chunk.scope == scope
            for row in chunk.rows()
        ]


def test_reports_come_at_most_twice_a_second_whatever_the_epochs():
    training = _Training(epochs=30, steps_per_epoch=1).run()

    steps = [report.progress.step for report in training.told]
    assert steps[0] == 1
    assert steps[-1] == 30
    assert len(steps) <= 1 + 3.0 / 0.5 + 1


def test_no_row_is_lost_between_reports():
    training = _Training(epochs=4, steps_per_epoch=7).run()

    assert [row["step"] for row in training.rows("step")] == list(range(1, 29))
    assert [row["epoch"] for row in training.rows("epoch")] == [1, 2, 3, 4]


def test_a_long_training_keeps_a_bounded_history():
    training = _Training(epochs=1, steps_per_epoch=5001).run()

    assert [row["step"] for row in training.rows("step")] == list(range(3, 5002, 3))


def test_the_time_left_leaves_out_the_first_step():
    training = _Training(epochs=1, steps_per_epoch=100).run()

    first, second = training.told[:2]
    assert first.progress.eta_seconds is None
    assert second.progress.eta_seconds == pytest.approx(0.1 * (100 - second.progress.step))


def test_layers_are_counted_when_the_sparsity_has_changed_and_told_each_time():
    training = _Training(epochs=1, steps_per_epoch=28).run()

    reported = [report.progress.step for report in training.told]
    assert training.counted == [
        1,
        next(s for s in reported if s >= 10),
        next(s for s in reported if s >= 20),
    ]
    assert [report.progress.layers[0].sparsity for report in training.told] == [
        [0.1, 0.2, 0.3][step // 10] for step in reported
    ]


def test_a_metric_called_step_does_not_number_the_rows():
    training = _Training(epochs=1, steps_per_epoch=3)
    training.callback.on_train_batch_end(0, {"loss": 0.5, "step": 0.125, "sparsity": 7.0})
    training.callback.on_epoch_end(0, {"loss": 0.5})

    [row] = training.rows("step")
    assert list(row.items()) == [("step", 1), ("sparsity", 0.0), ("loss", 0.5)]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_training(loss):
    with pytest.raises(RefusedError, match="step 1 of 3") as refused:
        _Training(epochs=1, steps_per_epoch=3).run(loss)

    assert refused.value.failure.code == "training_diverged"
