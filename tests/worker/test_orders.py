"""Both orders, carried out in this process on small models of every kind."""

import json
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

from app.jobs.intake.dataset import summarise_dataset
from app.jobs.intake.model import summarise_model
from app.jobs.job import Stage
from app.jobs.plan import plan
from app.jobs.spec import JobSpec
from pruning_core.config import Block
from worker.errors import RefusedError
from worker.messages import Advanced, PruneOrder, VerifyOrder, masks_path

keras = pytest.importorskip("keras")
layers = keras.layers

_DATA = Path(__file__).parents[1] / "data"
_SPEC = {
    "schedule": {"kind": "polynomial_decay", "final_sparsity": 0.75, "frequency": 2},
    "training": {"epochs": 2, "batch_size": 16},
}


class _Orders:
    """Gives both orders as a supervisor does, and keeps what is reported."""

    def __init__(self, folder):
        self.folder = folder
        self.reports = []
        self.pruned = None

    def save(self, model, suffix="keras"):
        path = self.folder / f"uploaded.{suffix}"
        model.save(path)
        return path

    def arrays(self, **arrays):
        path = self.folder / "dataset.npz"
        np.savez(path, **arrays)
        return path

    def prune(self, model, dataset=None, **spec):
        from worker.pruning import prune

        asked = JobSpec.model_validate_json(json.dumps(_SPEC | spec))
        summary = None if dataset is None else summarise_dataset(dataset)
        planned = self.planned = plan(asked, summarise_model(model), summary)
        self.order = PruneOrder(
            folder=self.folder,
            model=model,
            dataset=dataset,
            artifact=self.folder / "model.keras",
            reference=self.folder / "reference.npz",
            spec=planned.spec,
            total_steps=planned.total_steps,
        )
        self.pruned = prune(self.order, self.reports.append)
        return self.pruned

    def verify(self, **changes):
        from worker.verifying import verify

        order = VerifyOrder(
            folder=self.folder,
            dataset=self.order.dataset,
            artifact=self.order.artifact,
            reference=self.order.reference,
            spec=self.order.spec,
            pruned=self.pruned.model_copy(update=changes),
        )
        return verify(order, self.reports.append)

    @property
    def notices(self):
        return [report.notice.code for report in self.reports if report.kind == "notice"]

    @property
    def stages(self):
        return [report.stage for report in self.reports if report.kind == "stage"]


@pytest.fixture
def orders(tmp_path):
    keras.utils.set_random_seed(0)
    yield _Orders(tmp_path)
    keras.backend.clear_session()


@pytest.fixture
def classes():
    """Forty samples of three classes."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(40, 6)).astype(np.float32)
    return x, x[:, :3].argmax(axis=1)


def _perceptron(activation="softmax", units=3):
    return keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, "relu"), layers.Dense(units, activation)]
    )


def _of_two_inputs():
    left, right = keras.Input((6,), name="left"), keras.Input((6, 1), name="right")
    joined = layers.concatenate([layers.Dense(4)(left), layers.Flatten()(right)])
    return keras.Model([left, right], layers.Dense(3, activation="softmax")(joined))


def _nested():
    encoder = keras.Sequential([keras.Input((6,)), layers.Dense(8, "relu")], name="encoder")
    return keras.Sequential([keras.Input((6,)), encoder, layers.Dense(3, "softmax")])


def _recurrent():
    return keras.Sequential([keras.Input((6, 1)), layers.LSTM(4), layers.Dense(3, "softmax")])


def _convolutional():
    return keras.Sequential(
        [
            keras.Input((6, 1)),
            layers.Conv1D(4, 3),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling1D(),
            layers.Dense(3, "softmax"),
        ]
    )


@pytest.mark.parametrize("make", [_perceptron, _of_two_inputs, _nested, _recurrent, _convolutional])
def test_every_kind_of_model_comes_out_exactly_as_sparse_as_asked(orders, classes, make):
    x, y = classes
    model = make()
    names = [tensor.name for tensor in model.inputs]
    x_train = {"x_train": x} if len(names) == 1 else {f"x_train/{name}": x for name in names}
    x_test = {"x_test": x} if len(names) == 1 else {f"x_test/{name}": x for name in names}
    dataset = orders.arrays(**x_train, y_train=y, **x_test, y_test=y)

    pruned = orders.prune(orders.save(model), dataset)
    verified = orders.verify()

    for tensor in pruned.tensors:
        if tensor.planned is not None:
            assert tensor.zeros == tensor.planned.pruned == round(np.prod(tensor.shape) * 0.75)
    assert verified.artifact.max_abs_error <= 1e-5
    assert set(verified.artifact.metrics) == set(pruned.baseline) == {"loss", "accuracy"}
    assert verified.parameters.total == model.count_params()
    assert orders.stages == list(Stage)


@pytest.mark.parametrize(
    ("granularity", "allocation"),
    [
        ({"kind": "block"}, "uniform"),
        ({"kind": "n_of_m", "zeros": 3}, "layer_adaptive"),
        ({"kind": "channel"}, "erdos_renyi_kernel"),
        ({"kind": "unstructured"}, "global"),
    ],
    ids=["block", "n_of_m", "channel", "global"],
)
def test_what_was_planned_from_the_file_alone_comes_out(orders, granularity, allocation):
    uploaded = orders.save(_convolutional())

    pruned = orders.prune(uploaded, granularity=granularity, allocation={"kind": allocation})
    verified = orders.verify()

    planned = orders.planned
    for told, counted in zip(planned.layers, verified.layers, strict=True):
        assert (told.name, told.weight, told.reason) == (
            counted.name,
            counted.weight,
            counted.reason,
        )
        assert told.sparsity in {None, counted.sparsity} or not told.pruned
    zeros = verified.parameters.total - verified.parameters.nonzero
    assert zeros >= pruned.least_zeros
    if planned.is_exact:
        assert verified.sparsity == planned.sparsity


@pytest.mark.parametrize(
    ("activation", "units", "metrics"),
    [
        ("softmax", 3, {"loss", "agreement"}),
        ("sigmoid", 1, {"loss", "agreement"}),
        ("linear", 2, {"loss"}),
    ],
)
def test_without_labels_the_pruned_model_is_held_to_the_unpruned_one(
    orders, classes, activation, units, metrics
):
    x, _ = classes
    model = _perceptron(activation, units=units)
    before = model.predict(x, verbose=0)

    pruned = orders.prune(orders.save(model), orders.arrays(x_train=x, x_test=x))
    measured = orders.verify().artifact.metrics

    assert set(pruned.baseline) == set(measured) == metrics
    assert pruned.evaluated_on.samples == 40
    assert orders.planned.warnings[0].code == "no_labels"
    if activation == "softmax":
        after = keras.saving.load_model(orders.order.artifact).predict(x, verbose=0)
        alike = after.argmax(axis=1) == before.argmax(axis=1)
        assert pruned.baseline["agreement"] == 1.0
        assert measured["agreement"] == pytest.approx(alike.mean())
        assert measured["loss"] >= pruned.baseline["loss"]


def test_without_labels_tuning_brings_the_answers_back(orders, classes):
    x, y = classes
    model = _perceptron()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=20, batch_size=8, verbose=0)
    optimizer = {"kind": "adam", "learning_rate": 0.01}

    pruned = orders.prune(
        orders.save(model),
        orders.arrays(x_train=x, x_test=x),
        schedule={"kind": "one_shot", "target_sparsity": 0.5},
        training={"epochs": 30, "batch_size": 40, "optimizer": optimizer},
    )

    told = [report for report in orders.reports if isinstance(report, Advanced)]
    rows = [row for report in told for chunk in report.history for row in chunk.rows()]
    lost = [row["loss"] - pruned.baseline["loss"] for row in rows if "step" in row]
    assert lost[-1] < lost[0] / 2


def test_the_unpruned_model_teaches_the_pruned_one(orders, classes):
    x, y = classes
    dataset = orders.arrays(x_train=x, y_train=y, x_test=x, y_test=y)
    uploaded = orders.save(_perceptron())
    alone = {"epochs": 1, "batch_size": 40, "distillation": {"weight": 1.0}}
    schedule = {"kind": "constant", "target_sparsity": 0.0}

    orders.prune(uploaded, dataset, training=alone, schedule=schedule)

    told, *_ = (report for report in orders.reports if isinstance(report, Advanced))
    # Nothing is pruned yet in the first step: the outputs are the teacher's own.
    assert told.history[0].columns["loss"] == (pytest.approx(0.0, abs=1e-6),)
    assert "accuracy" in orders.verify().artifact.metrics


def test_the_learning_rate_cools_down_on_request(orders, classes):
    x, y = classes
    dataset = orders.arrays(x_train=x, y_train=y, x_test=x, y_test=y)
    uploaded = orders.save(_perceptron())
    training = {"epochs": 2, "batch_size": 40, "optimizer": {"kind": "sgd", "learning_rate": 0.1}}
    schedule = {"kind": "one_shot", "target_sparsity": 0.5}

    changes = []
    for cool_down in (False, True):
        orders.prune(
            uploaded, dataset, training=training | {"cool_down": cool_down}, schedule=schedule
        )
        before, after = (
            keras.saving.load_model(path).layers[0].get_weights()[0]
            for path in (uploaded, orders.order.artifact)
        )
        changes.append(np.abs(after - before)[after != 0].sum())

    constant, cooling = changes
    # Half a cosine over the whole training takes half of the steps' lengths away.
    assert cooling < 0.8 * constant


def test_batch_normalisation_is_measured_anew_on_request(orders, classes):
    x, y = classes
    dataset = orders.arrays(x_train=x[..., None], y_train=y)
    uploaded = orders.save(_convolutional())
    training = {"epochs": 1, "batch_size": 40, "validation_split": 0.0}

    variances = []
    for recalibrate in (False, True):
        orders.prune(uploaded, dataset, training=training | {"recalibrate": recalibrate})
        model = keras.saving.load_model(orders.order.artifact)
        inner = keras.Model(model.inputs, model.layers[0].output)
        measured = inner.predict(x[..., None], verbose=0).var(axis=(0, 1))
        variances.append(np.allclose(model.layers[1].moving_variance, measured, rtol=1e-3))

    assert variances == [False, True]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_file_of_keras_2_comes_out_as_one_of_keras_3(orders):
    uploaded = _DATA / "keras2_cnn.h5"
    [form] = summarise_model(uploaded).inputs
    x = np.random.default_rng(0).random((40, *form.shape[1:])).astype(np.float32)
    dataset = orders.arrays(x=x, y=np.arange(40) % 2)

    orders.prune(uploaded, dataset)

    assert orders.verify().artifact.verified
    assert set(orders.pruned.baseline) == {"loss", "accuracy"}


def test_without_data_the_model_is_pruned_at_once(orders):
    pruned = orders.prune(orders.save(_perceptron()))

    verified = orders.verify()

    assert (pruned.baseline, pruned.evaluated_on) == (None, None)
    assert verified.sparsity == pytest.approx(0.75, abs=0.01)
    assert verified.artifact.metrics == {}
    assert Stage.FINE_TUNING not in orders.stages


def test_without_data_an_embedding_is_asked_for_rows_that_it_has(orders):
    model = keras.Sequential([keras.Input((None,)), layers.Embedding(5, 4), layers.LSTM(2)])

    orders.prune(orders.save(model))

    assert orders.verify().artifact.max_abs_error <= 1e-5


def test_the_figures_are_those_that_plain_keras_measures_on_the_file(orders, classes):
    x, y = classes
    dataset = orders.arrays(x_train=x, y_train=y, x_test=x[:30], y_test=y[:30])
    orders.prune(orders.save(_perceptron()), dataset)

    verified = orders.verify()

    model = keras.saving.load_model(orders.order.artifact)
    right = model.predict(x[:30], verbose=0).argmax(axis=1) == y[:30]
    zeros = sum(int(np.count_nonzero(w == 0)) for w in model.get_weights())
    assert verified.artifact.metrics["accuracy"] == pytest.approx(right.mean())
    assert verified.parameters.nonzero == verified.parameters.total - zeros
    assert verified.artifact.bytes == orders.order.artifact.stat().st_size


def test_the_same_seed_gives_the_same_file(orders, classes):
    x, y = classes
    dataset = orders.arrays(x=x, y=y)
    model = keras.Sequential([keras.Input((6,)), layers.Dropout(0.5), layers.Dense(3, "softmax")])
    uploaded = orders.save(model)

    orders.prune(uploaded, dataset)
    first = orders.verify().artifact.sha256
    orders.prune(uploaded, dataset)

    assert orders.verify().artifact.sha256 == first


def test_masks_are_written_for_every_pruned_tensor_of_the_file(orders, classes):
    x, y = classes
    dataset = orders.arrays(x_train=x, y_train=y, x_test=x, y_test=y)
    pruned = orders.prune(orders.save(_perceptron()), dataset)

    orders.verify()

    tensors = [tensor for tensor in pruned.tensors if tensor.planned is not None]
    with np.load(masks_path(orders.folder)) as masks:
        zeros = [
            np.prod(tensor.shape) - np.unpackbits(masks[str(place)]).sum()
            for place, tensor in enumerate(tensors)
        ]
    assert zeros == [tensor.zeros for tensor in tensors]


def test_progress_says_how_sparse_each_pruned_tensor_is(orders, classes):
    x, y = classes
    dataset = orders.arrays(x_train=x, y_train=y, x_test=x, y_test=y)

    pruned = orders.prune(orders.save(_perceptron()), dataset)

    *_, last = (report.progress for report in orders.reports if isinstance(report, Advanced))
    assert {(layer.name, layer.weight): layer.sparsity for layer in last.layers} == {
        (tensor.layer, tensor.weight): tensor.zeros / np.prod(tensor.shape)
        for tensor in pruned.tensors
        if tensor.planned is not None
    }


def test_progress_begins_with_the_first_step_and_ends_with_the_last(orders, classes):
    x, y = classes
    dataset = orders.arrays(x_train=x, y_train=y, x_val=x, y_val=y)

    orders.prune(orders.save(_perceptron()), dataset)

    told = [report for report in orders.reports if isinstance(report, Advanced)]
    assert told[0].progress.step == 1
    assert told[-1].progress.step == told[-1].progress.total_steps == 6
    assert told[-1].progress.sparsity == pytest.approx(0.75, abs=0.01)
    rows = [row for report in told for chunk in report.history for row in chunk.rows()]
    assert [row["step"] for row in rows if "step" in row] == [1, 2, 3, 4, 5, 6]
    assert [set(row) for row in rows if "epoch" in row] == [
        {"epoch", "sparsity", "loss", "accuracy", "val_loss", "val_accuracy"}
    ] * 2


def test_a_model_that_knows_nothing_yet_is_told_apart(orders, classes):
    x, y = classes
    dataset = orders.arrays(x=x[:, ::-1] * 0, y=y)

    orders.prune(orders.save(_perceptron()), dataset)

    assert orders.notices == ["loss_inferred", "baseline_at_chance"]


def test_a_training_that_diverges_is_refused_with_what_to_try(orders, classes):
    x, y = classes
    dataset = orders.arrays(x_train=x * 1e18, y_train=y, x_test=x, y_test=y)
    training = {
        "optimizer": {"kind": "sgd", "learning_rate": 1e30},
        "loss": "mean_squared_error",
        "epochs": 4,
        "batch_size": 8,
    }

    with pytest.raises(RefusedError, match="learning_rate") as refused:
        orders.prune(orders.save(_perceptron("linear", units=1)), dataset, training=training)

    assert refused.value.failure.code == "training_diverged"


def test_preprocessing_is_applied_as_declared(orders, classes):
    x, y = classes
    dataset = orders.arrays(x_train=x, y_train=y, x_test=x, y_test=y)
    uploaded = orders.save(_perceptron())
    scaled = {"preprocessing": {"rescale": 2.0, "offset": 1.0}}

    baseline = orders.prune(uploaded, dataset, **scaled).baseline
    dataset = orders.arrays(x_train=x * 2 + 1, y_train=y, x_test=x * 2 + 1, y_test=y)

    assert orders.prune(uploaded, dataset).baseline == pytest.approx(baseline)


def test_a_file_that_is_not_the_pruned_model_is_not_published(orders, classes):
    x, y = classes
    orders.prune(orders.save(_perceptron()), orders.arrays(x=x, y=y))
    other = keras.saving.load_model(orders.order.artifact)
    bias = other.layers[-1].bias
    bias.assign(bias + 1.0)
    other.layers[-1].activation = keras.activations.linear
    other.save(orders.order.artifact)

    with pytest.raises(RefusedError, match="its outputs differ") as refused:
        orders.verify()

    assert refused.value.failure.code == "verification_failed"


def test_a_file_that_plain_keras_cannot_open_is_not_published(orders):
    orders.prune(orders.save(_perceptron()))
    content = orders.order.artifact.read_bytes()
    orders.order.artifact.write_bytes(content[: len(content) // 2])

    with pytest.raises(RefusedError, match="plain Keras cannot open it"):
        orders.verify()


@pytest.mark.parametrize(
    ("granularity", "missed"),
    [
        ({"kind": "unstructured"}, r"at least 37 zeros\. Received: 36"),
        ({"kind": "block", "block_size": [3, 2]}, r"at least 7 blocks of zeros\. Received: 6"),
        ({"kind": "n_of_m", "zeros": 3}, r"at least 33 zeros in its pattern\. Received: 32"),
        ({"kind": "channel"}, r"at least 7 outputs of zeros\. Received: 6"),
    ],
)
def test_a_tensor_with_too_few_zeros_is_not_published(orders, granularity, missed):
    pruned = orders.prune(
        orders.save(_perceptron()), granularity=granularity, allocation={"kind": "uniform"}
    )
    orders.verify()

    first, *others = pruned.tensors
    more = first.planned.model_copy(update={"pruned": first.planned.pruned + 1})
    tensors = (first.model_copy(update={"planned": more}), *others)
    with pytest.raises(RefusedError, match=missed) as refused:
        orders.verify(tensors=tensors)

    assert refused.value.failure.code == "sparsity_missed"


def test_a_model_with_too_few_zeros_in_all_is_not_published(orders):
    pruned = orders.prune(orders.save(_perceptron()), allocation={"kind": "global"})

    with pytest.raises(RefusedError, match=r"at least 55 zeros in all\. Received: 54"):
        orders.verify(least_zeros=pruned.least_zeros + 1)


def test_zeros_that_make_no_whole_blocks_are_not_enough(orders):
    pruned = orders.prune(orders.save(_perceptron()), allocation={"kind": "uniform"})
    first, *others = pruned.tensors
    blocks = first.planned.model_copy(update={"granularity": Block(block_size=(3, 2)), "pruned": 6})

    with pytest.raises(RefusedError, match=r"at least 6 blocks of zeros\. Received: [0-5]"):
        orders.verify(tensors=(first.model_copy(update={"planned": blocks}), *others))


def test_what_has_been_trained_lets_go_of_its_optimizer():
    from worker import pruning

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    optimizer = weakref.ref(model.optimizer)

    pruning._forget_training(model)

    assert optimizer() is None
    assert model.optimizer is None


def test_what_runners_are_forked_from_has_not_used_tensorflow():
    script = (
        "from worker import runner; runner.prepare();"
        "from tensorflow.python.eager.context import context;"
        "print(context()._initialized, context()._physical_devices is None);"
        "from worker.rehearsal import rehearse; rehearse();"
        "print(context()._initialized, context()._physical_devices is None)"
    )

    used = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout

    # A process that is forked from one that has, hangs; of GPUs none may have been looked for.
    assert used.split() == ["False", "True", "True", "False"]


def test_who_verifies_has_nothing_of_the_library_that_knows_keras():
    script = (
        "import sys; from worker import runner; runner.prepare();"
        "from worker.rehearsal import rehearse; rehearse();"
        "print(sorted(name for name in sys.modules if name.startswith('pruning_core')))"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout

    assert "pruning_core.config" in loaded
    assert not {"optimizer", "training", "callback", "export"} & {
        name.rpartition(".")[2] for name in json.loads(loaded.replace("'", '"'))
    }
