import json
import math

import pytest

from app.jobs.errors import RefusedSpecError
from app.jobs.plan import plan
from app.jobs.spec import JobSpec
from app.jobs.uploads import (
    DatasetSummary,
    LayerSummary,
    ModelSummary,
    TensorSpec,
    WeightSummary,
)
from pruning_core.catalogue import reason_to_skip

_CNN = [
    ("conv", "Conv2D", {"kernel": (5, 5, 1, 32), "bias": (32,)}),
    ("flatten", "Flatten", {}),
    ("dense", "Dense", {"kernel": (100, 33), "bias": (33,)}),
    ("classes", "Dense", {"kernel": (33, 10), "bias": (10,)}),
]


def _model(layers=_CNN, *, inputs=(("image", (None, 28, 28, 1)),), **changes):
    weights = tuple(
        WeightSummary(
            layer=name,
            class_name=class_name,
            weight=weight,
            shape=shape,
            dtype="float32",
            reason=reason_to_skip(class_name, weight),
            prunable=reason_to_skip(class_name, weight) is None,
        )
        for name, class_name, shapes in layers
        for weight, shape in shapes.items()
    )
    fields = {
        "format": "keras",
        "keras_version": "3.15.1",
        "class_name": "Sequential",
        "inputs": tuple(
            TensorSpec(name=name, shape=shape, dtype="float32") for name, shape in inputs
        ),
        "outputs": ("classes",),
        "layers": (
            *(LayerSummary(name=n, class_name="InputLayer", parameters=0) for n, _ in inputs),
            *(LayerSummary(name=n, class_name=c, parameters=0) for n, c, _ in layers),
        ),
        "weights": weights,
        "parameters": sum(math.prod(weight.shape) for weight in weights),
        "weight_bytes": 0,
        "optimizer_bytes": 0,
        "compiled_loss": "sparse_categorical_crossentropy",
        "output_units": 10,
    }
    return ModelSummary(**fields | changes)


def _data(samples=1000, *, shape=(28, 28), dtype="float32", inputs=("x_train",), **changes):
    arrays = tuple(TensorSpec(name=name, shape=(samples, *shape), dtype=dtype) for name in inputs)
    fields = {
        "arrays": (*arrays, TensorSpec(name="y_train", shape=(samples,), dtype="uint8")),
        "ignored": (),
        "train_samples": samples,
        "validation_samples": 0,
        "test_samples": 100,
        "integer_labels": True,
        "lowest_label": 0,
        "highest_label": 9,
    }
    return DatasetSummary(**fields | changes)


_UNLABELLED = {"integer_labels": False, "lowest_label": None, "highest_label": None}


def _spec(**fields):
    return JobSpec.model_validate_json(json.dumps(fields))


def _faults(spec, model, dataset):
    with pytest.raises(RefusedSpecError) as caught:
        plan(spec, model, dataset)
    return {error.pointer: error.message for error in caught.value.errors}


def _codes(planned):
    return [notice.code for notice in planned.warnings]


@pytest.mark.parametrize(
    ("samples", "batch_size", "epochs", "steps_per_epoch", "total_steps"),
    [(60_000, 128, 2, 469, 938), (128, 128, 1, 1, 1), (129, 128, 3, 2, 6), (1, 128, 1, 1, 1)],
)
def test_counts_the_steps(samples, batch_size, epochs, steps_per_epoch, total_steps):
    spec = _spec(training={"batch_size": batch_size, "epochs": epochs})

    planned = plan(spec, _model(), _data(samples))

    assert (planned.steps_per_epoch, planned.total_steps) == (steps_per_epoch, total_steps)


@pytest.mark.parametrize(
    ("asked", "parts", "split", "used", "held_out"),
    [
        pytest.param(None, {}, 0.0, 1000, ("test", 100), id="a test part"),
        pytest.param(None, {"test_samples": 0}, 0.1, 900, ("validation", 100), id="nothing"),
        pytest.param(
            None,
            {"test_samples": 0, "validation_samples": 50},
            0.0,
            1000,
            ("validation", 50),
            id="a validation part",
        ),
        pytest.param(0.25, {}, 0.25, 750, ("test", 100), id="a split beside a test part"),
        pytest.param(
            0.25,
            {"test_samples": 0, "validation_samples": 50},
            0.25,
            1000,
            ("validation", 50),
            id="a split beside a validation part",
        ),
        pytest.param(0.0, {"test_samples": 0}, 0.0, 1000, None, id="nothing, on purpose"),
    ],
)
def test_says_what_is_trained_on_and_what_is_held_out(asked, parts, split, used, held_out):
    training = {} if asked is None else {"validation_split": asked}

    planned = plan(_spec(training=training), _model(), _data(**parts))

    assert planned.spec.training.validation_split == split
    assert planned.train_samples == used
    found = planned.held_out and (planned.held_out.split, planned.held_out.samples)
    assert found == held_out


def test_a_single_sample_is_not_divided():
    planned = plan(_spec(), _model(), _data(1, test_samples=0))

    assert planned.train_samples == 1


@pytest.mark.parametrize(
    ("spec", "with_data", "without"),
    [
        ({}, "uniform", "layer_adaptive"),
        ({"allocation": {"kind": "global"}}, "global", "global"),
    ],
)
def test_fills_in_the_allocation(spec, with_data, without):
    assert plan(_spec(**spec), _model(), _data()).spec.allocation.kind == with_data
    assert plan(_spec(**spec), _model(), None).spec.allocation.kind == without


def test_fills_in_the_sparsities_of_all_schedules():
    rules = [
        {"match": "conv", "granularity": {"kind": "n_of_m", "zeros": 1}},
        {"match": "dense", "schedule": {"kind": "one_shot"}},
    ]

    planned = plan(_spec(layers=rules), _model(), _data()).spec

    assert planned.schedule.final_sparsity == 0.8
    assert [rule.schedule.last_sparsity for rule in planned.layers] == [0.25, 0.8]


@pytest.mark.parametrize(
    ("spec", "data"),
    [
        ({}, {"test_samples": 0}),
        ({"granularity": {"kind": "n_of_m"}}, {}),
        ({"layers": [{"type": "Dense", "granularity": {"kind": "n_of_m"}}]}, {}),
        ({"allocation": {"kind": "global"}}, _UNLABELLED),
        ({}, None),
    ],
)
def test_what_is_filled_in_is_planned_alike(spec, data):
    dataset = None if data is None else _data(**data)

    planned = plan(_spec(**spec), _model(), dataset)

    assert plan(planned.spec, _model(), dataset) == planned


def test_fills_in_the_ends_of_all_schedules():
    rule = {"match": "conv", "schedule": {"kind": "constant", "target_sparsity": 0.5}}

    planned = plan(_spec(layers=[rule]), _model(), _data(60_000))

    assert planned.spec.schedule.end_step == 704
    assert planned.spec.layers[0].schedule.end_step == 938
    assert plan(planned.spec, _model(), _data(60_000)) == planned


@pytest.mark.parametrize(("sparsity", "pruned"), [(0.5, 1650), (0.9, 2970), (1 / 3300 * 2.5, 2)])
def test_the_sparsity_is_exact_to_the_last_weight(sparsity, pruned):
    rules = [{"match": "conv", "skip": True}, {"match": "classes", "skip": True}]
    schedule = {"kind": "one_shot", "target_sparsity": sparsity}

    planned = plan(_spec(schedule=schedule, layers=rules), _model(), _data())

    assert planned.sparsity == pruned / 3300
    assert planned.parameters.prunable == 3300
    assert planned.parameters.nonzero == planned.parameters.total - pruned


#: Of `_CNN`: `conv` is a matrix of 25 by 32, `dense` of 100 by 33, `classes` of 33 by 10.
@pytest.mark.parametrize(
    ("granularity", "sparsity", "pruned"),
    [
        pytest.param({"kind": "unstructured"}, 0.8, [640, 2640, 264], id="weights"),
        pytest.param({"kind": "block", "block_size": [5, 1]}, 0.5, [400, 1650, None], id="blocks"),
        pytest.param({"kind": "block", "block_size": [4, 4]}, 0.5, [None] * 3, id="ragged blocks"),
        pytest.param({"kind": "n_of_m"}, None, [0, 1650, 160], id="two of four"),
        pytest.param({"kind": "n_of_m", "zeros": 3}, None, [0, 2475, 240], id="three of four"),
        pytest.param({"kind": "channel"}, 0.5, [400, 1600], id="filters"),
    ],
)
def test_what_shapes_decide_is_exact_to_the_last_weight(granularity, sparsity, pruned):
    schedule = {"kind": "one_shot", "target_sparsity": sparsity}

    planned = plan(_spec(schedule=schedule, granularity=granularity), _model(), _data())

    kernels = [weight for weight in planned.layers if weight.pruned]
    zeros = [w.sparsity and round(w.sparsity * math.prod(w.shape)) for w in kernels]
    assert zeros == pruned
    assert planned.is_exact == (None not in pruned)
    if planned.is_exact:
        assert planned.parameters.nonzero == planned.parameters.total - sum(pruned)
        assert planned.sparsity == sum(pruned) / planned.parameters.prunable


@pytest.mark.parametrize("kind", ["global", "layer_adaptive"])
def test_where_the_weights_decide_only_the_total_is_known(kind):
    schedule = {"kind": "one_shot", "target_sparsity": 0.9}

    planned = plan(_spec(schedule=schedule, allocation={"kind": kind}), _model(), _data())

    assert [w.sparsity for w in planned.layers if w.pruned] == [None, None, None]
    assert planned.is_exact
    assert planned.sparsity == round(4430 * 0.9) / 4430


def test_small_tensors_stay_denser_by_their_shapes_alone():
    schedule = {"kind": "one_shot", "target_sparsity": 0.9}
    allocation = {"kind": "erdos_renyi_kernel"}

    planned = plan(_spec(schedule=schedule, allocation=allocation), _model(), _data())

    left = [round((1 - w.sparsity) * math.prod(w.shape)) for w in planned.layers if w.pruned]
    assert left == [87, 269, 87]  # 443 in all, as the sums of the sides: 43, 133 and 43.
    assert planned.is_exact


def test_a_layer_has_units_of_its_own():
    rules = [
        {"match": "conv", "granularity": {"kind": "channel"}},
        {"type": "Dense", "granularity": {"kind": "block", "block_size": [33, 2]}},
    ]
    schedule = {"kind": "one_shot", "target_sparsity": 0.5}

    planned = plan(_spec(schedule=schedule, layers=rules), _model(), _data())

    assert [w.sparsity for w in planned.layers if w.pruned] == [0.5, None, 0.4]


def test_a_granularity_that_does_not_apply_leaves_the_weight_dense_with_its_reason():
    layers = [("words", "Embedding", {"embeddings": (50, 8)}), *_CNN]

    planned = plan(_spec(granularity={"kind": "n_of_m"}), _model(layers), _data())

    assert planned.layers[0].reason == "it has no input channels for n_of_m to group: not pruned"
    assert planned.parameters.prunable == 4430


def test_depthwise_kernels_are_pruned_on_request():
    layers = [("depth", "DepthwiseConv2D", {"kernel": (3, 3, 8, 1)}), *_CNN]
    rules = [{"type": "DepthwiseConv2D", "skip": False}]

    usual, asked = (
        plan(_spec(layers=given), _model(layers), _data()).layers[0] for given in ([], rules)
    )

    assert not usual.pruned
    assert usual.reason.startswith("depthwise kernels")
    assert (asked.pruned, asked.sparsity) == (True, 58 / 72)


def test_the_axes_of_an_einsum_are_those_of_its_equation():
    model = _model([("heads", "EinsumDense", {"kernel": (8, 2, 4)})])
    weight = model.weights[0].model_copy(update={"equation": "abc,cde->abde"})
    model = model.model_copy(update={"weights": (weight,)})
    schedule = {"kind": "one_shot", "target_sparsity": 0.4}

    planned = plan(
        _spec(schedule=schedule, granularity={"kind": "channel"}), model, _data(shape=(28, 28))
    )

    # Three of eight outputs; by the last axis alone it would be one or two of four.
    assert planned.layers[0].sparsity == 3 / 8


def test_what_is_frozen_stays_so():
    model = _model()
    frozen = model.weights[0].model_copy(update={"trainable": False})
    model = model.model_copy(update={"weights": (frozen, *model.weights[1:])})

    planned = plan(_spec(), model, _data())

    assert planned.layers[0].reason == "its layer is frozen (trainable is False)"


def test_every_weight_is_pruned_or_says_why_not():
    rules = [
        {"match": "classes", "skip": True},
        {"match": "conv*", "schedule": {"kind": "constant", "target_sparsity": 0.25}},
    ]

    planned = plan(_spec(layers=rules), _model(), _data())

    assert [(w.name, w.weight, w.sparsity, w.reason) for w in planned.layers] == [
        ("conv", "kernel", 0.25, None),
        ("conv", "bias", 0.0, "biases are few and carry much: not pruned"),
        ("dense", "kernel", 0.8, None),
        ("dense", "bias", 0.0, "biases are few and carry much: not pruned"),
        ("classes", "kernel", 0.0, "skipped: its name matches 'classes'"),
        ("classes", "bias", 0.0, "biases are few and carry much: not pruned"),
    ]


def test_without_data_the_model_is_pruned_at_once():
    planned = plan(_spec(), _model(), None)

    assert (planned.total_steps, planned.train_samples, planned.held_out) == (0, 0, None)
    assert planned.spec.schedule.end_step == 0
    assert _codes(planned) == ["no_data"]


@pytest.mark.parametrize(
    ("spec", "pointer"),
    [
        ({"schedule": {"kind": "polynomial_decay", "end_step": 999}}, "/schedule/end_step"),
        ({"schedule": {"kind": "constant", "begin_step": 999}}, "/schedule/begin_step"),
        ({"schedule": {"kind": "one_shot", "begin_step": 999}}, "/schedule/begin_step"),
        ({"schedule": {"kind": "iterative", "rounds": 50}}, "/schedule/rounds"),
        (
            {"layers": [{"match": "conv", "schedule": {"kind": "constant", "end_step": 999}}]},
            "/layers/0/schedule/end_step",
        ),
    ],
)
def test_a_schedule_that_the_steps_cannot_carry_is_refused_by_its_field(spec, pointer):
    faults = _faults(_spec(**spec), _model(), _data())

    assert list(faults) == [pointer]


def test_a_rule_for_no_layer_is_refused_with_a_name_that_is_near():
    rules = [{"match": "conv", "skip": True}, {"match": "desne", "skip": True}]

    faults = _faults(_spec(layers=rules), _model(), _data())

    assert list(faults) == ["/layers/1/match"]
    assert "(dense for example). Received: 'desne'" in faults["/layers/1/match"]


def test_a_rule_for_no_class_is_refused_with_a_class_that_is_near():
    rules = [{"type": "Conv2d", "skip": True}, {"type": "Dense", "match": "conv", "skip": True}]

    faults = _faults(_spec(layers=rules), _model(), _data())

    assert list(faults) == ["/layers/0/type", "/layers/1/match"]
    assert "(Conv2D for example). Received: 'Conv2d'" in faults["/layers/0/type"]
    assert "(dense, classes for example). Received: 'conv'" in faults["/layers/1/match"]


def test_a_rule_for_a_class_covers_what_is_inside_of_one():
    layers = [("both", "Bidirectional", {}), ("both/forward", "LSTM", {"kernel": (4, 8)}), *_CNN]

    planned = plan(_spec(layers=[{"type": "Bidirectional", "skip": True}]), _model(layers), _data())

    assert planned.layers[0].reason == "skipped: its class matches 'Bidirectional'"
    assert planned.layers[1].pruned


def test_the_inputs_are_no_layers_that_a_rule_could_mean():
    faults = _faults(_spec(layers=[{"match": "image", "skip": True}]), _model(), _data())

    assert list(faults) == ["/layers/0/match"]


@pytest.mark.parametrize(
    ("layers", "rules", "pointer"),
    [
        (_CNN, [{"match": "*", "skip": True}], "/layers"),
        ([("norm", "BatchNormalization", {"gamma": (4,)})], [], ""),
    ],
    ids=["by the rules", "by the model"],
)
def test_a_job_that_would_prune_nothing_is_refused(layers, rules, pointer):
    faults = _faults(_spec(layers=rules), _model(layers), _data())

    assert "at least one weight" in faults[pointer]


def test_all_faults_come_in_one_answer():
    spec = _spec(
        schedule={"kind": "one_shot", "begin_step": 999}, layers=[{"match": "other", "skip": True}]
    )

    faults = _faults(spec, _model(), _data(highest_label=10, shape=(27, 28)))

    assert list(faults) == ["/schedule/begin_step", "/layers/0/match", "/data"]


def test_a_split_that_leaves_nothing_to_train_on_is_refused():
    faults = _faults(_spec(training={"validation_split": 0.9}), _model(), _data(1))

    assert list(faults) == ["/training/validation_split"]


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1)])
def test_a_last_axis_of_one_may_be_left_out(shape):
    assert plan(_spec(), _model(), _data(shape=shape)).train_samples == 1000


def test_a_free_size_takes_any():
    model = _model(inputs=(("image", (None, None, None, 3)),))

    assert plan(_spec(), model, _data(shape=(7, 9, 3))).train_samples == 1000


@pytest.mark.parametrize("shape", [(28,), (27, 28), (28, 28, 3), (28, 28, 1, 1), (784,)])
def test_samples_of_another_shape_are_refused(shape):
    faults = _faults(_spec(), _model(), _data(shape=shape))

    assert "(28, 28, 1). Received: (" in faults["/data"]


_TWO = (("left", (None, 4)), ("right", (None, 4)))


def test_several_inputs_are_matched_by_name():
    data = _data(shape=(4,), inputs=("x_train/right", "x_train/left"))

    assert plan(_spec(), _model(inputs=_TWO), data).train_samples == 1000


def test_a_single_input_may_go_by_its_name():
    data = _data(inputs=("x_train/image",))

    assert plan(_spec(), _model(), data).train_samples == 1000


@pytest.mark.parametrize(
    ("model_inputs", "inputs"),
    [
        (_TWO, ("x_train",)),
        (_TWO, ("x_train/left",)),
        (_TWO, ("x_train/left", "x_train/right", "x_train/middle")),
        ((("image", (None, 4)),), ("x_train/other",)),
    ],
)
def test_data_that_do_not_name_the_inputs_are_refused(model_inputs, inputs):
    faults = _faults(_spec(), _model(inputs=model_inputs), _data(shape=(4,), inputs=inputs))

    assert "must name the model's inputs: x_train/" in faults["/data"]


def test_a_model_of_two_outputs_is_not_fine_tuned():
    model = _model(outputs=("a", "b"))

    assert "one output" in _faults(_spec(), model, _data())["/data"]
    assert plan(_spec(), model, None).total_steps == 0


@pytest.mark.parametrize(
    ("loss", "units", "labels", "whole"),
    [
        ("sparse_categorical_crossentropy", 10, (0, 10), True),
        ("sparse_categorical_crossentropy", 10, (-1, 9), True),
        (None, 10, (1, 10), True),
        ("binary_crossentropy", 1, (0, 2), True),
        ("binary_crossentropy", 1, (-1, 1), True),
    ],
)
def test_labels_outside_the_classes_are_refused(loss, units, labels, whole):
    model = _model(compiled_loss=loss, output_units=units)
    data = _data(lowest_label=labels[0], highest_label=labels[1], integer_labels=whole)

    assert "the labels must" in _faults(_spec(), model, data)["/data"]


@pytest.mark.parametrize(
    ("loss", "units", "labels", "whole"),
    [
        pytest.param(None, 1, (-3, 70), True, id="regression on whole numbers"),
        pytest.param("mean_squared_error", 1, (0, 500), True, id="the same, compiled"),
        pytest.param("mean_squared_error", 4, (0, 500), False, id="regression on vectors"),
        pytest.param(None, None, (0, 500), True, id="an output of unknown size"),
        pytest.param("binary_crossentropy", 1, (0, 1), True, id="two classes"),
    ],
)
def test_labels_that_may_be_meant_are_taken(loss, units, labels, whole):
    model = _model(compiled_loss=loss, output_units=units)
    data = _data(lowest_label=labels[0], highest_label=labels[1], integer_labels=whole)

    assert plan(_spec(), model, data).train_samples == 1000


def test_metrics_and_a_second_teacher_need_labels():
    spec = _spec(training={"metrics": ["accuracy"], "distillation": {"weight": 0.5}})

    faults = _faults(spec, _model(), _data(**_UNLABELLED))

    assert list(faults) == ["/training/metrics", "/training/distillation"]
    assert faults["/training/metrics"] == (
        "metrics must be left out where the data have no labels. Received: accuracy"
    )


@pytest.mark.parametrize(
    ("asked", "data", "recalibrate"),
    [
        ({}, {}, False),
        ({}, _UNLABELLED, True),
        ({"recalibrate": True}, {}, True),
        ({"recalibrate": False}, _UNLABELLED, False),
    ],
)
def test_batch_normalisation_is_measured_anew_where_there_are_no_labels(asked, data, recalibrate):
    planned = plan(_spec(training=asked), _model(), _data(**data))

    assert planned.spec.training.recalibrate is recalibrate


# 1,000 samples in batches of 100, twice: 20 steps.
_TO_THE_END = {"kind": "polynomial_decay", "final_sparsity": 0.5, "end_step": 20}


@pytest.mark.parametrize(
    ("asked", "schedule", "cool_down"),
    [
        pytest.param({}, {"kind": "polynomial_decay"}, True, id="a quarter of the steps is left"),
        pytest.param({}, _TO_THE_END, False, id="no step is left"),
        pytest.param({}, _TO_THE_END | {"end_step": 19}, True, id="one step is left"),
        pytest.param({"cool_down": False}, {"kind": "polynomial_decay"}, False, id="not wanted"),
    ],
)
def test_the_learning_rate_cools_down_where_steps_are_left_for_it(asked, schedule, cool_down):
    planned = plan(
        _spec(training={"batch_size": 100} | asked, schedule=schedule), _model(), _data()
    )

    assert planned.total_steps == 20
    assert planned.spec.training.cool_down is cool_down


def test_a_cool_down_without_time_for_it_is_refused():
    late = {"match": "classes", "schedule": _TO_THE_END}
    spec = _spec(training={"batch_size": 100, "cool_down": True}, layers=[late])

    faults = _faults(spec, _model(), _data())

    assert faults == {
        "/training/cool_down": "cool_down needs steps after the last sparsity is reached; let the "
        "schedule end earlier, or leave cool_down out. Received: true, and it is reached after "
        "step 20 of 20"
    }


def test_the_loss_of_the_spec_comes_first():
    spec = _spec(training={"loss": "mean_squared_error"})

    assert plan(spec, _model(), _data(highest_label=500)).train_samples == 1000


@pytest.mark.parametrize(
    ("spec", "data", "codes"),
    [
        ({}, {"samples": 60_000}, []),
        ({}, {"samples": 1000}, []),
        (
            {"training": {"epochs": 1}},
            {"samples": 100},
            ["few_mask_updates", "smaller_than_a_batch"],
        ),
        (
            {"schedule": {"kind": "polynomial_decay", "frequency": 100}},
            {"samples": 1000},
            ["few_mask_updates"],
        ),
        ({"schedule": {"kind": "polynomial_decay", "frequency": 2}}, {}, []),
        ({"schedule": {"kind": "polynomial_decay", "begin_step": 4, "end_step": 4}}, {}, []),
        ({"schedule": {"kind": "one_shot"}}, {}, []),
        ({"schedule": {"kind": "one_shot"}}, {"samples": 100}, ["smaller_than_a_batch"]),
        (
            {"schedule": {"kind": "one_shot"}, "training": {"validation_split": 0.0}},
            {"test_samples": 0},
            ["no_held_out_data"],
        ),
        ({"schedule": {"kind": "one_shot"}}, {"test_samples": 49}, ["few_held_out_samples"]),
        (
            {"schedule": {"kind": "one_shot"}},
            _UNLABELLED,
            ["no_labels"],
        ),
        (
            {"schedule": {"kind": "one_shot"}, "training": {"validation_split": 0.5}},
            {"validation_samples": 5},
            ["validation_split_unused"],
        ),
        ({"schedule": {"kind": "one_shot"}}, {"ignored": ("vocab",)}, ["arrays_ignored"]),
        ({"schedule": {"kind": "one_shot"}}, {"dtype": "uint8"}, ["inputs_not_rescaled"]),
        (
            {"schedule": {"kind": "one_shot"}, "preprocessing": {"rescale": 0.00392}},
            {"dtype": "uint8"},
            [],
        ),
    ],
)
def test_warns_of_what_may_not_be_meant(spec, data, codes):
    assert _codes(plan(_spec(**spec), _model(), _data(**data))) == codes


@pytest.mark.parametrize("class_name", ["Rescaling", "Normalization", "Embedding"])
def test_bytes_are_no_surprise_to_a_model_that_scales_them(class_name):
    model = _model([("first", class_name, {}), *_CNN])
    spec = _spec(schedule={"kind": "one_shot"})

    assert _codes(plan(spec, model, _data(dtype="uint8"))) == []


#: What `pruning_core.save` made of random weights: a perceptron (784-300-100-10) and the MNIST
#: CNN (32 and 64 kernels of 5x5, dense layers of 1,024 and 10).
_PERCEPTRON = [
    ("a", "Dense", {"kernel": (784, 300), "bias": (300,)}),
    ("b", "Dense", {"kernel": (300, 100), "bias": (100,)}),
    ("c", "Dense", {"kernel": (100, 10), "bias": (10,)}),
]
_MNIST = [
    ("rescaling", "Rescaling", {}),
    ("a", "Conv2D", {"kernel": (5, 5, 1, 32), "bias": (32,)}),
    ("pool", "MaxPooling2D", {}),
    ("b", "Conv2D", {"kernel": (5, 5, 32, 64), "bias": (64,)}),
    ("pool_1", "MaxPooling2D", {}),
    ("flatten", "Flatten", {}),
    ("c", "Dense", {"kernel": (1024, 1024), "bias": (1024,)}),
    ("dropout", "Dropout", {}),
    ("d", "Dense", {"kernel": (1024, 10), "bias": (10,)}),
]


@pytest.mark.parametrize(
    ("layers", "sparsity", "measured"),
    [
        (_PERCEPTRON, 0.0, 904_836),
        (_PERCEPTRON, 0.5, 501_278),
        (_PERCEPTRON, 0.8, 212_690),
        (_PERCEPTRON, 0.9, 112_027),
        (_MNIST, 0.0, 3_779_510),
        (_MNIST, 0.5, 2_051_829),
        (_MNIST, 0.8, 869_949),
        (_MNIST, 0.9, 453_618),
    ],
)
def test_predicts_the_size_of_the_file(layers, sparsity, measured):
    spec = _spec(schedule={"kind": "one_shot", "target_sparsity": sparsity})

    predicted = plan(spec, _model(layers), _data()).artifacts[0]

    assert predicted.name == "model.keras"
    assert predicted.bytes == pytest.approx(measured, rel=0.07)


@pytest.mark.parametrize(
    ("granularity", "sparsity", "perceptron", "mnist"),
    [
        ({"kind": "block"}, 0.5, 502_268, 2_093_369),
        ({"kind": "block"}, 0.8, 224_494, 916_542),
        ({"kind": "block"}, 0.9, 115_850, 488_241),
        ({"kind": "block", "block_size": [4, 4]}, 0.8, 195_727, 819_269),
        ({"kind": "block", "block_size": [16, 1]}, 0.8, 221_260, 933_649),
        ({"kind": "n_of_m"}, None, 502_059, 2_064_482),
        ({"kind": "n_of_m", "zeros": 1}, None, 716_941, 2_996_703),
        ({"kind": "n_of_m", "zeros": 3}, None, 269_907, 1_065_638),
        ({"kind": "channel"}, 0.5, 505_903, 2_114_157),
        ({"kind": "channel"}, 0.8, 224_996, 939_402),
    ],
)
def test_predicts_the_size_under_each_granularity(granularity, sparsity, perceptron, mnist):
    schedule = {"kind": "one_shot", "target_sparsity": sparsity}
    spec = _spec(schedule=schedule, granularity=granularity)

    predicted = [
        plan(spec, _model(layers), None).artifacts[0].bytes for layers in (_PERCEPTRON, _MNIST)
    ]

    assert predicted == [pytest.approx(perceptron, rel=0.05), pytest.approx(mnist, rel=0.05)]


def test_predicts_files_without_filters_of_zeros():
    """By hand: of the MNIST CNN at 0.75 by filters, what ``compact`` leaves."""
    schedule = {"kind": "one_shot", "target_sparsity": 0.75}
    formats = ["keras_compact", "litert", "onnx"]
    spec = _spec(schedule=schedule, granularity={"kind": "channel"}, artifacts=formats)
    kernels = 5 * 5 * 8 + 5 * 5 * 8 * 16 + 4 * 4 * 16 * 256 + 256 * 10
    biases = 8 + 16 + 256 + 10

    predicted = {each.format: each.bytes for each in plan(spec, _model(_MNIST), None).artifacts}

    assert predicted["litert"] == pytest.approx(4 * (kernels + biases), rel=0.1)
    assert predicted["onnx"] == predicted["litert"]
    assert predicted["keras_compact"] == pytest.approx(0.9 * predicted["litert"], rel=0.1)


@pytest.mark.parametrize(
    ("granularity", "artifacts", "is_warned"),
    [
        ("channel", ["keras", "weights"], True),
        ("channel", ["keras", "keras_compact"], False),
        ("channel", ["litert"], False),
        ("unstructured", ["keras"], False),
    ],
)
def test_warns_where_no_file_leaves_out_the_filters_that_go(granularity, artifacts, is_warned):
    spec = _spec(granularity={"kind": granularity}, artifacts=artifacts)

    warnings = plan(spec, _model(_MNIST), None).warnings

    assert ("filters_stay" in [warning.code for warning in warnings]) is is_warned


def test_refuses_a_file_without_filters_where_none_is_pruned():
    spec = _spec(artifacts=["keras", "keras_compact"])

    with pytest.raises(RefusedSpecError) as refused:
        plan(spec, _model(_MNIST), None)

    [fault] = refused.value.errors
    assert fault.pointer == "/artifacts"
    assert "granularity.kind must be channel" in fault.message


@pytest.mark.parametrize(
    ("kind", "perceptron", "mnist"),
    [
        ("global", 111_624, 452_474),
        ("layer_adaptive", 111_156, 419_656),
        ("erdos_renyi_kernel", 111_198, 417_495),
    ],
)
def test_predicts_the_size_under_each_allocation(kind, perceptron, mnist):
    schedule = {"kind": "one_shot", "target_sparsity": 0.9}
    spec = _spec(schedule=schedule, allocation={"kind": kind})

    predicted = [
        plan(spec, _model(layers), None).artifacts[0].bytes for layers in (_PERCEPTRON, _MNIST)
    ]

    assert predicted == [pytest.approx(perceptron, rel=0.07), pytest.approx(mnist, rel=0.07)]


_MNIST_12_MB = [
    *_MNIST[:6],
    ("c", "Dense", {"kernel": (3136, 1024), "bias": (1024,)}),
    *_MNIST[7:],
]
_LSTM = [
    ("a", "Embedding", {"embeddings": (10_000, 64)}),
    ("b", "LSTM", {"kernel": (64, 256), "recurrent_kernel": (64, 256), "bias": (256,)}),
    ("c", "Dense", {"kernel": (64, 1), "bias": (1,)}),
]


@pytest.mark.parametrize(
    ("layers", "sparsity", "measured"),
    [
        pytest.param(
            _MNIST_12_MB,
            0.8,
            {
                "keras": 2_524_015,
                "litert": 13_102_936,
                "litert_fp16": 6_555_068,
                "litert_int8": 3_298_128,
                "litert_sparse": 3_936_352,
                "onnx": 13_104_699,
                "saved_model": 3_154_211,
                "weights": 2_287_141,
                "weights_int8": 885_419,
            },
            id="CNN",
        ),
        pytest.param(
            _LSTM,
            0.9,
            {
                "keras": 258_910,
                "litert": 2_702_156,
                "litert_fp16": 1_357_024,
                "litert_int8": 690_328,
                "litert_sparse": 2_590_336,
                "onnx": 2_699_304,
                "saved_model": 342_389,
                "weights": 236_759,
                "weights_int8": 94_196,
            },
            id="LSTM",
        ),
    ],
)
def test_predicts_the_size_in_every_format_that_is_asked_for(layers, sparsity, measured):
    schedule = {"kind": "one_shot", "target_sparsity": sparsity}
    spec = _spec(schedule=schedule, allocation={"kind": "uniform"}, artifacts=list(measured))

    predicted = plan(spec, _model(layers), None).artifacts

    assert {each.format: each.bytes for each in predicted} == pytest.approx(measured, rel=0.1)
    assert len({each.name for each in predicted}) == len(measured)


@pytest.mark.parametrize(("dtype", "share"), [("float16", 0.5), ("bfloat16", 0.5)])
def test_smaller_numbers_make_smaller_files(dtype, share):
    spec = _spec(schedule={"kind": "one_shot", "target_sparsity": 0.0})
    model = _model(_MNIST)
    small = model.model_copy(
        update={"weights": tuple(w.model_copy(update={"dtype": dtype}) for w in model.weights)}
    )

    whole, part = (plan(spec, m, None).artifacts[0].bytes for m in (model, small))

    assert part == pytest.approx(share * whole, rel=0.01)
