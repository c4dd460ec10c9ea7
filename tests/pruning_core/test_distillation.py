"""Learning from the unpruned model, on models so small that the loss can be worked out."""

import keras
import numpy as np
import pytest
from keras import layers

import pruning_core as pc
from pruning_core.distillation import distil
from pruning_core.outputs import Kind, Output, outputs_of
from pruning_core.training import Pruning

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 6)).astype("float32")
Y = RNG.integers(0, 3, 24)
HALF = pc.PruningConfig(schedule=pc.OneShot(target_sparsity=0.5))


def model(seed=1, activation="softmax", loss="sparse_categorical_crossentropy", units=3):
    keras.utils.set_random_seed(seed)
    made = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, activation="tanh", name="a"),
            layers.Dense(units, activation=activation, name="b"),
        ]
    )
    made.compile("sgd", loss, metrics=["accuracy"])
    return made


def answers(of):
    return np.asarray(keras.ops.convert_to_numpy(of(X, training=False)), dtype="float64")


def loss_of(student, teacher, **settings):
    """The loss that ``student`` would be trained by on all samples."""
    distil(student, teacher, pc.Distillation(**settings))
    predicted = student(X, training=True)
    return number(student.compute_loss(X, keras.ops.convert_to_tensor(Y), predicted))


def number(scalar):
    return float(keras.ops.convert_to_numpy(scalar))


def divergence(teacher, student):
    return np.mean(np.sum(teacher * np.log(teacher / student), axis=-1))


def softened(probabilities, temperature):
    powers = probabilities ** (1 / temperature)
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_classes_are_compared_at_a_temperature(temperature):
    student, teacher = model(1), model(2)
    soft_teacher, soft_student = (softened(answers(one), temperature) for one in (teacher, student))

    loss = loss_of(student, teacher, weight=1.0, temperature=temperature)

    expected = temperature**2 * divergence(soft_teacher, soft_student)
    assert loss == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_flags_are_compared_one_by_one(temperature):
    student, teacher = (model(seed, "sigmoid", "binary_crossentropy") for seed in (1, 2))
    soft_teacher, soft_student = (
        softened(np.stack([answers(one), 1 - answers(one)], axis=-1), temperature)
        for one in (teacher, student)
    )

    loss = loss_of(student, teacher, weight=1.0, temperature=temperature)

    expected = temperature**2 * divergence(soft_teacher, soft_student)
    assert loss == pytest.approx(expected, rel=1e-4)


def test_quantities_are_compared_by_their_squared_difference():
    student, teacher = (model(seed, None, "mse") for seed in (1, 2))
    expected = np.mean((answers(student) - answers(teacher)) ** 2)

    loss = loss_of(student, teacher, weight=1.0)

    assert loss == pytest.approx(expected, rel=1e-4)


def test_logits_are_compared_as_the_probabilities_that_they_stand_for():
    logits = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    student, teacher = (model(seed, None, logits) for seed in (1, 2))
    of_student, of_teacher = (softened(np.exp(answers(one)), 1.0) for one in (student, teacher))

    loss = loss_of(student, teacher, weight=1.0)

    assert loss == pytest.approx(divergence(of_teacher, of_student), rel=1e-4)


def test_the_weight_divides_the_loss_between_labels_and_teacher():
    student, teacher = model(1), model(2)
    own = student.evaluate(X, Y, verbose=0, return_dict=True)["loss"]
    distance = divergence(answers(teacher), answers(student))

    loss = loss_of(student, teacher, weight=0.25)

    assert loss == pytest.approx(0.75 * own + 0.25 * distance, rel=1e-4)


def test_a_model_has_nothing_to_learn_from_its_equal():
    assert loss_of(model(1), model(1), weight=1.0) == pytest.approx(0, abs=1e-6)


def test_a_sure_teacher_gives_a_finite_loss():
    student, teacher = model(1), model(2)
    for one, bias in ((teacher, 200.0), (student, -200.0)):
        one.layers[-1].bias.assign([bias, 0.0, 0.0])

    assert np.isfinite(loss_of(student, teacher, weight=1.0))


def test_evaluation_reports_the_models_own_loss():
    student = model(1)
    own = student.evaluate(X, Y, verbose=0, return_dict=True)

    distil(student, model(2), pc.Distillation(weight=0.9))
    student.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])

    assert student.evaluate(X, Y, verbose=0, return_dict=True) == pytest.approx(own)


class OwnTrainStep(keras.Model):
    """Hands its inputs to ``compute_loss`` or does not."""

    def __init__(self, *, hands_inputs):
        super().__init__()
        self.dense = layers.Dense(3, activation="softmax")
        self.hands_inputs = hands_inputs

    def call(self, inputs):
        return self.dense(inputs)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        del x, sample_weight
        return keras.ops.mean(keras.losses.sparse_categorical_crossentropy(y, y_pred))


def test_a_loss_of_the_models_own_that_knows_no_training_is_kept():
    student = OwnTrainStep(hands_inputs=True)
    student(X)
    own = number(student.compute_loss(y=Y, y_pred=student(X)))

    assert loss_of(student, student, weight=0.5) == pytest.approx(own / 2)


def test_a_train_step_that_keeps_its_inputs_to_itself_is_refused():
    student = model(1)
    distil(student, model(2), pc.Distillation())

    with pytest.raises(pc.PruningConfigError, match="hand its inputs to compute_loss"):
        student.compute_loss(y=Y, y_pred=student(X))


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        pytest.param(model, Output(Kind.CLASSES), id="softmax"),
        pytest.param(lambda: model(activation="sigmoid"), Output(Kind.FLAGS), id="sigmoid"),
        pytest.param(lambda: model(activation=None), Output(Kind.QUANTITIES), id="nothing said"),
        pytest.param(
            lambda: model(activation=None, loss=keras.losses.BinaryCrossentropy(from_logits=True)),
            Output(Kind.FLAGS, are_logits=True),
            id="logits of flags",
        ),
        pytest.param(
            lambda: model(
                activation=None, loss=keras.losses.CategoricalCrossentropy(from_logits=True)
            ),
            Output(Kind.CLASSES, are_logits=True),
            id="logits of classes",
        ),
        pytest.param(
            lambda: keras.Sequential([model(activation=None), layers.Softmax()]),
            Output(Kind.CLASSES),
            id="a layer of its own",
        ),
        pytest.param(
            lambda: keras.Sequential([keras.Input((6,)), model()]),
            Output(Kind.CLASSES),
            id="nested",
        ),
        pytest.param(
            lambda: OwnTrainStep(hands_inputs=True), Output(Kind.QUANTITIES), id="subclassed"
        ),
    ],
)
def test_what_an_output_is_follows_from_its_activation_and_its_loss(made, expected):
    assert outputs_of(made(), 1) == [expected]


def test_each_of_several_outputs_is_what_it_is():
    inputs = keras.Input((6,))
    several = keras.Model(
        inputs,
        {
            "classes": layers.Dense(3, activation="softmax", name="classes")(inputs),
            "size": layers.Dense(1, name="size")(inputs),
        },
    )

    assert outputs_of(several, 2) == [Output(Kind.CLASSES), Output(Kind.QUANTITIES)]


def fitted(pruning, **labels):
    return pruning.model.fit(
        X, batch_size=8, epochs=2, verbose=0, callbacks=[pruning.callback], **labels
    ).history


def test_the_given_model_teaches_and_is_not_touched():
    given = model()
    before = given.get_weights()
    pruning = Pruning(given, HALF, total_steps=6, distillation=pc.Distillation())

    fitted(pruning, y=Y)

    for old, new in zip(before, given.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert given.evaluate(X, Y, verbose=0) == model().evaluate(X, Y, verbose=0)
    assert pruning.report().sparsity == 0.5


def test_without_a_copy_the_teacher_is_the_model_as_it_was():
    copied, taken = (
        Pruning(model(), HALF, 6, distillation=pc.Distillation(weight=1.0), copy=copy)
        for copy in (True, False)
    )

    histories = []
    for pruning in (copied, taken):
        keras.utils.set_random_seed(0)
        histories.append(fitted(pruning))

    assert histories[0] == histories[1]
    assert histories[0]["loss"][0] > 0, "the teacher is not pruned along"
    assert taken.report().sparsity == 0.5


def test_distillation_trains_differently_from_labels_alone():
    plain, taught = (
        Pruning(model(), HALF, 6, distillation=distillation)
        for distillation in (None, pc.Distillation(weight=0.5))
    )

    for pruning in (plain, taught):
        keras.utils.set_random_seed(0)
        fitted(pruning, y=Y)

    assert not np.allclose(plain.model.get_weights()[0], taught.model.get_weights()[0])


def test_samples_without_labels_are_enough():
    given = model()
    distance = divergence(answers(given), answers(pc.prune(given, config=HALF).model))

    pruned = pc.prune(
        given,
        X,
        config=HALF,
        epochs=20,
        batch_size=8,
        optimizer=keras.optimizers.SGD(1.0),
        verbose=0,
    )

    assert pruned.report.sparsity == 0.5
    assert divergence(answers(given), answers(pruned.model)) < distance / 2
    assert set(pruned.history) == {"loss"}
    assert set(pruned.model.evaluate(X, Y, verbose=0, return_dict=True)) == {"accuracy", "loss"}


def test_a_model_that_is_not_compiled_can_be_pruned_on_samples_without_labels():
    given = keras.Sequential([keras.Input((6,)), layers.Dense(3)])

    pruned = pc.prune(given, X, config=HALF, verbose=0)

    assert not pruned.model.compiled
    assert pruned.report.sparsity == 0.5


def test_a_model_that_needs_no_labels_is_trained_by_its_own_loss():
    given = keras.Sequential([keras.Input((6,)), layers.Dense(3), layers.ActivityRegularization(1)])
    given.compile("sgd")

    pruned = pc.prune(given, X, config=HALF, epochs=1, batch_size=24, verbose=0)

    half = pc.prune(given, config=HALF).model
    assert pruned.history["loss"] == [pytest.approx(np.mean(np.abs(answers(half)).sum(axis=-1)))]


def test_labels_are_needed_where_they_have_a_part_in_the_loss():
    with pytest.raises(pc.PruningConfigError) as caught:
        pc.prune(model(), X, config=HALF, distillation=pc.Distillation(weight=0.5))

    assert caught.value.field == "distillation/weight"


@pytest.mark.parametrize(
    "settings",
    [{"weight": 0.0}, {"weight": 1.5}, {"temperature": 0.0}, {"temperature": float("inf")}],
)
def test_settings_outside_their_domain_are_refused(settings):
    (field,) = settings

    with pytest.raises(pc.PruningConfigError, match=f"{field} must be above 0") as caught:
        pc.Distillation(**settings)

    assert caught.value.field == field
