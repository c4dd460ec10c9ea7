import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.jobs.errors import RefusedSpecError
from app.jobs.spec import MAX_SPEC_BYTES, Adam, JobSpec, Sgd, Training, parse_spec
from pruning_core.config import (
    Block,
    Channel,
    ErdosRenyiKernel,
    Global,
    LayerAdaptive,
    LayerRule,
    NOfM,
    PruningConfig,
    Uniform,
    Unstructured,
)
from pruning_core.recipe import Distillation
from pruning_core.schedule import Constant, Iterative, OneShot, PolynomialDecay

TFMOT = {
    "class_name": "PolynomialDecay",
    "config": {"initial_sparsity": 0.2, "final_sparsity": 0.8, "begin_step": 0, "end_step": 10},
}
_TFMOT_SCHEDULE = PolynomialDecay(
    initial_sparsity=0.2, final_sparsity=0.8, end_step=10, frequency=100
)


def faults(spec):
    """Return what is wrong with a spec: pointer to message."""
    with pytest.raises(RefusedSpecError) as raised:
        parse_spec(spec if isinstance(spec, str | bytes) else json.dumps(spec))
    found = {error.pointer: error.message for error in raised.value.errors}
    assert len(found) == len(raised.value.errors)
    return found


class TestTaken:
    def test_nothing_is_a_spec(self):
        spec = parse_spec("{}")

        assert spec == JobSpec()
        assert spec.schedule == PolynomialDecay(power=3.0)
        assert (spec.granularity, spec.allocation) == (Unstructured(), None)
        assert (spec.training.epochs, spec.training.batch_size) == (2, 128)
        assert spec.artifacts == ("keras",)

    @pytest.mark.parametrize(
        ("given", "schedule"),
        [
            ({"kind": "constant", "target_sparsity": 0}, Constant(target_sparsity=0.0)),
            ({"kind": "polynomial_decay"}, PolynomialDecay()),
            ({"kind": "one_shot", "begin_step": 7}, OneShot(begin_step=7)),
            ({"kind": "iterative", "rounds": 3}, Iterative(rounds=3)),
        ],
    )
    def test_each_kind_of_schedule_is_taken_here_and_for_layers(self, given, schedule):
        spec = parse_spec(
            json.dumps({"schedule": given, "layers": [{"match": "a", "schedule": given}]})
        )

        assert spec.schedule == schedule
        assert spec.layers == (LayerRule(match="a", schedule=schedule),)

    @pytest.mark.parametrize(
        ("given", "granularity"),
        [
            ({"kind": "unstructured"}, Unstructured()),
            ({"kind": "block"}, Block(block_size=(4, 1), pooling="mean")),
            (
                {"kind": "block", "block_size": [2, 8], "pooling": "max"},
                Block(block_size=(2, 8), pooling="max"),
            ),
            ({"kind": "n_of_m"}, NOfM(zeros=2, group=4)),
            ({"kind": "n_of_m", "zeros": 1, "group": 16}, NOfM(zeros=1, group=16)),
            ({"kind": "channel"}, Channel()),
        ],
    )
    def test_each_granularity_is_taken_here_and_for_layers(self, given, granularity):
        spec = parse_spec(json.dumps({"granularity": given, "layers": [{"granularity": given}]}))

        assert spec.granularity == granularity
        assert spec.layers == (LayerRule(granularity=granularity),)
        assert parse_spec(spec.model_dump_json()) == spec

    @pytest.mark.parametrize(
        ("given", "allocation"),
        [
            (None, None),
            ({"kind": "uniform"}, Uniform()),
            ({"kind": "global"}, Global(floor=0.1)),
            ({"kind": "global", "floor": 0}, Global(floor=0.0)),
            ({"kind": "erdos_renyi_kernel"}, ErdosRenyiKernel()),
            ({"kind": "layer_adaptive"}, LayerAdaptive()),
        ],
    )
    def test_each_allocation_is_taken(self, given, allocation):
        spec = parse_spec(json.dumps({"allocation": given}))

        assert spec.allocation == allocation
        assert parse_spec(spec.model_dump_json()) == spec

    @pytest.mark.parametrize(
        "rule",
        [
            {"type": "Conv2D", "skip": True},
            {"match": "depthwise*", "type": "DepthwiseConv2D", "skip": False},
            {"type": "Dense", "granularity": {"kind": "channel"}, "skip": None},
        ],
    )
    def test_a_rule_goes_by_name_by_class_or_by_both(self, rule):
        [taken] = parse_spec(json.dumps({"layers": [rule]})).layers

        assert (taken.match, taken.type) == (rule.get("match", "*"), rule["type"])
        assert taken.skip is rule["skip"]

    def test_a_pattern_says_how_far(self):
        spec = parse_spec('{"granularity": {"kind": "n_of_m", "zeros": 3, "group": 4}}')

        assert spec.pruning_config().with_sparsities().schedule.last_sparsity == 0.75

    def test_a_schedule_of_tfmot_is_taken_as_it_is(self):
        spec = parse_spec(
            json.dumps({"schedule": TFMOT, "layers": [{"match": "a", "schedule": TFMOT}]})
        )

        assert spec.schedule == spec.layers[0].schedule == _TFMOT_SCHEDULE

    @pytest.mark.parametrize(
        ("given", "schedule", "granularity"),
        [
            pytest.param(
                {"pruning_schedule": TFMOT},
                _TFMOT_SCHEDULE,
                Unstructured(),
                id="a schedule",
            ),
            pytest.param(
                {"pruning_schedule": TFMOT, "block_size": [4, 1], "block_pooling_type": "MAX"},
                _TFMOT_SCHEDULE,
                Block(block_size=(4, 1), pooling="max"),
                id="blocks",
            ),
            pytest.param(
                {"sparsity_m_by_n": [2, 4], "block_size": [1, 1], "pruning_policy": None},
                Constant(frequency=100),
                NOfM(zeros=2, group=4),
                id="two of four",
            ),
        ],
    )
    def test_settings_of_tfmot_are_taken_beside_ours(self, given, schedule, granularity):
        spec = parse_spec(json.dumps({**given, "training": {"epochs": 3}}))

        assert (spec.schedule, spec.granularity) == (schedule, granularity)
        assert spec.training.epochs == 3

    @pytest.mark.parametrize(
        ("given", "optimizer"),
        [
            ({"kind": "adam", "weight_decay": 0.01}, Adam(weight_decay=0.01)),
            ({"kind": "sgd", "momentum": 0.9, "nesterov": True}, Sgd(momentum=0.9, nesterov=True)),
        ],
    )
    def test_each_optimizer_is_taken(self, given, optimizer):
        spec = parse_spec(json.dumps({"training": {"optimizer": given}}))

        assert spec.training == Training(optimizer=optimizer)

    def test_what_helps_the_model_through_is_taken(self):
        helpers = {"recalibrate": True, "cool_down": True}
        training = {"distillation": {"weight": 1, "temperature": 4.0}, **helpers}

        spec = parse_spec(json.dumps({"training": training}))

        assert spec.training.distillation == Distillation(weight=1.0, temperature=4.0)
        assert spec.training.recalibrate is True
        assert spec.training.cool_down is True
        assert parse_spec(spec.model_dump_json()) == spec

    def test_a_whole_number_stands_for_a_fraction(self):
        assert parse_spec('{"training": {"validation_split": 0}}').training.validation_split == 0.0

    def test_a_spec_as_understood_is_understood_alike(self):
        spec = parse_spec('{"layers": [{"match": "a", "skip": true}], "training": {"seed": 7}}')

        assert parse_spec(spec.model_dump_json()) == spec

    def test_the_library_gets_what_concerns_it(self):
        spec = parse_spec('{"schedule": {"kind": "one_shot"}, "layers": [{"match": "a"}]}')

        assert spec.pruning_config() == PruningConfig(
            schedule=OneShot(), layers=(LayerRule(match="a"),)
        )

    def test_bytes_are_taken_like_text(self):
        assert parse_spec(b"{}") == JobSpec()


class TestRefused:
    @pytest.mark.parametrize(
        ("spec", "pointer", "message"),
        [
            pytest.param(
                {"schedule": {"kind": "polynomial_decay", "final_sparsity": 50}},
                "/schedule/final_sparsity",
                "final_sparsity must be a fraction in [0, 1). Received: 50",
                id="percent",
            ),
            pytest.param(
                {"schedule": {"kind": "one_shot", "target_sparsity": 1.0}},
                "/schedule/target_sparsity",
                "target_sparsity must be a fraction in [0, 1). Received: 1.0",
                id="everything",
            ),
            pytest.param(
                {"schedule": {"kind": "constant", "begin_step": 10, "end_step": 5}},
                "/schedule/end_step",
                "end_step must not lie before begin_step (10). Received: 5",
                id="end before begin",
            ),
            pytest.param(
                {"schedule": {"kind": "polynomial_decay", "initial_sparsity": 0.9}},
                "/schedule/final_sparsity",
                "final_sparsity must not be below initial_sparsity (0.9). Received: 0.8",
                id="evidence that is a default",
            ),
            pytest.param(
                {"schedule": {"kind": "polynomal_decay"}},
                "/schedule/kind",
                'kind must be one of "constant", "polynomial_decay", "one_shot", "iterative"; '
                'did you mean "polynomial_decay"? Received: "polynomal_decay"',
                id="misspelt kind",
            ),
            pytest.param(
                {"schedule": {"final_sparsity": 0.5}},
                "/schedule/kind",
                'kind must be one of "constant", "polynomial_decay", "one_shot", "iterative". '
                "Received: nothing",
                id="no kind",
            ),
            pytest.param(
                {"layers": [{"match": "a", "schedule": {"kind": ["constant"]}}]},
                "/layers/0/schedule/kind",
                'kind must be one of "constant", "polynomial_decay", "one_shot", "iterative"; '
                'did you mean "constant"? Received: ["constant"]',
                id="kind in a list",
            ),
            pytest.param(
                {"schedule": 0.8},
                "/schedule",
                "schedule must be an object. Received: 0.8",
                id="schedule as number",
            ),
            pytest.param(
                {"schedule": None},
                "/schedule",
                "schedule must be an object. Received: null",
                id="schedule as null",
            ),
            pytest.param(
                {"layers": [{"match": "a", "schedule": 0.8}]},
                "/layers/0/schedule",
                "schedule must be an object. Received: 0.8",
                id="a layer's schedule as number",
            ),
            pytest.param(
                {
                    "layers": [
                        {"match": "a"},
                        {"match": "b", "schedule": {"kind": "constant"} | {"target_sparsity": -1}},
                    ]
                },
                "/layers/1/schedule/target_sparsity",
                "target_sparsity must be a fraction in [0, 1). Received: -1",
                id="a layer's sparsity",
            ),
            pytest.param(
                {"layers": [{"match": "a", "schedule": {"kind": "constant", "power": 3}}]},
                "/layers/0/schedule/power",
                'schedule has no field "power". Received: 3',
                id="a field of another kind",
            ),
            pytest.param(
                {"layers": [{"match": "a", "skip": True, "schedule": {"kind": "one_shot"}}]},
                "/layers/0/skip",
                "skip must be false where schedule or granularity is given. Received: true",
                id="skipped and scheduled",
            ),
            pytest.param(
                {"layers": [{"match": "", "skip": True}]},
                "/layers/0/match",
                'match must be a layer name or a glob. Received: ""',
                id="a rule for no name",
            ),
            pytest.param(
                {"layers": [{"type": "", "skip": True}]},
                "/layers/0/type",
                'type must be the name of a class. Received: ""',
                id="a rule for no class",
            ),
            pytest.param(
                {"layers": ["conv*"]},
                "/layers/0",
                'layers[0] must be an object. Received: "conv*"',
                id="a rule as text",
            ),
            pytest.param(
                {"layers": {"match": "a"}},
                "/layers",
                'layers must be a list. Received: {"match": "a"}',
                id="rules without a list",
            ),
            pytest.param(
                {"granularity": {"kind": "blocks"}},
                "/granularity/kind",
                'kind must be one of "unstructured", "block", "n_of_m", "channel"; '
                'did you mean "block"? Received: "blocks"',
                id="misspelt granularity",
            ),
            pytest.param(
                {"layers": [{"granularity": {"zeros": 2}}]},
                "/layers/0/granularity/kind",
                'kind must be one of "unstructured", "block", "n_of_m", "channel". '
                "Received: nothing",
                id="a layer's granularity without kind",
            ),
            pytest.param(
                {"granularity": {"kind": "block", "block_size": [4]}},
                "/granularity/block_size/1",
                "block_size[1] must be given. Received: nothing",
                id="block of one side",
            ),
            pytest.param(
                {"granularity": {"kind": "block", "block_size": [4, 1, 1]}},
                "/granularity/block_size",
                "block_size must have at most 2 items. Received: [4, 1, 1]",
                id="block of three sides",
            ),
            pytest.param(
                {"granularity": {"kind": "block", "block_size": [0, 1]}},
                "/granularity/block_size",
                "block_size must be at least 1 by 1. Received: [0, 1]",
                id="block of nothing",
            ),
            pytest.param(
                {"granularity": {"kind": "block", "pooling": "sum"}},
                "/granularity/pooling",
                "pooling must be 'mean' or 'max'. Received: \"sum\"",
                id="pooling of another kind",
            ),
            pytest.param(
                {"layers": [{"granularity": {"kind": "n_of_m", "zeros": 4}}]},
                "/layers/0/granularity/group",
                "group must be more than zeros (4). Received: 4",
                id="a pattern of nothing but zeros",
            ),
            pytest.param(
                {
                    "granularity": {"kind": "n_of_m"},
                    "schedule": {"kind": "polynomial_decay", "final_sparsity": 0.9},
                },
                "/schedule/final_sparsity",
                "final_sparsity must be zeros / group (0.5) under n_of_m, or be left out. "
                "Received: 0.9",
                id="a schedule that does not lead to the pattern",
            ),
            pytest.param(
                {
                    "layers": [
                        {
                            "granularity": {"kind": "n_of_m"},
                            "schedule": {"kind": "one_shot", "target_sparsity": 0.75},
                        }
                    ],
                },
                "/layers/0/schedule/target_sparsity",
                "target_sparsity must be zeros / group (0.5) under n_of_m, or be left out. "
                "Received: 0.75",
                id="a layer's schedule that does not lead to its pattern",
            ),
            pytest.param(
                {
                    "schedule": {"kind": "one_shot", "target_sparsity": 0.9},
                    "layers": [{"match": "a", "granularity": {"kind": "n_of_m"}}],
                },
                "/layers/0/schedule",
                "schedule must be given for n_of_m where the run's schedule does not end at "
                "zeros / group. Received: none",
                id="a layer's pattern beside the run's schedule",
            ),
            pytest.param(
                {"allocation": {"kind": "global", "floor": 10}},
                "/allocation/floor",
                "floor must be a fraction in [0, 1]. Received: 10",
                id="floor in percent",
            ),
            pytest.param(
                {"allocation": {"kind": "uniform", "floor": 0.1}},
                "/allocation/floor",
                'allocation has no field "floor". Received: 0.1',
                id="a floor without a ranking",
            ),
            pytest.param(
                {"allocation": "global"},
                "/allocation",
                'allocation must be an object. Received: "global"',
                id="allocation as text",
            ),
            pytest.param(
                {"artifacts": ["keras", "coreml"]},
                "/artifacts/1",
                "artifacts[1] must be 'keras', 'keras_compact', 'litert', 'litert_fp16', "
                "'litert_int8', 'litert_sparse', 'onnx', 'saved_model', 'weights' or "
                "'weights_int8'. "
                'Received: "coreml"',
                id="no such format",
            ),
            pytest.param(
                {"artifacts": ["keras", "keras"]},
                "/artifacts",
                'artifacts must name each format once. Received: ["keras", "keras"]',
                id="artifact twice",
            ),
            pytest.param(
                {"artifacts": []},
                "/artifacts",
                "artifacts must not be empty. Received: []",
                id="no artifact",
            ),
            pytest.param(
                {"webhook": {"url": "http://example.org"}},
                "/webhook/url",
                "url must be an https:// URL of at most 2048 ASCII characters, without a name and "
                "a password; http:// goes to this machine only. Received: "
                '"http://example.org"',
                id="webhook in the clear",
            ),
            pytest.param(
                {"trainning": {}},
                "/trainning",
                'the spec has no field "trainning"; did you mean "training"? Received: {}',
                id="misspelt part",
            ),
            pytest.param(
                {"training": {"epoch": 3}},
                "/training/epoch",
                'training has no field "epoch"; did you mean "epochs"? Received: 3',
                id="misspelt field",
            ),
            pytest.param(
                {"layers": [{"match": "a", "zzz": 1}]},
                "/layers/0/zzz",
                'layers[0] has no field "zzz". Received: 1',
                id="a field like no other",
            ),
            pytest.param(
                {"training": {"a/b~c": 1}},
                "/training/a~1b~0c",
                'training has no field "a/b~c". Received: 1',
                id="a field that a pointer must escape",
            ),
            pytest.param(
                {"training": {"epochs": "2"}},
                "/training/epochs",
                'epochs must be an integer. Received: "2"',
                id="number as text",
            ),
            pytest.param(
                {"training": {"epochs": True}},
                "/training/epochs",
                "epochs must be an integer. Received: true",
                id="number as truth",
            ),
            pytest.param(
                {"training": {"epochs": 2.0}},
                "/training/epochs",
                "epochs must be an integer. Received: 2.0",
                id="integer as fraction",
            ),
            pytest.param(
                {"training": {"epochs": 0}},
                "/training/epochs",
                "epochs must be at least 1. Received: 0",
                id="too low",
            ),
            pytest.param(
                {"training": {"batch_size": 100_000}},
                "/training/batch_size",
                "batch_size must be at most 65536. Received: 100000",
                id="too high",
            ),
            pytest.param(
                {"training": {"optimizer": {"kind": "adam", "learning_rate": 0}}},
                "/training/optimizer/learning_rate",
                "learning_rate must be above 0.0. Received: 0",
                id="at the open end",
            ),
            pytest.param(
                {"training": {"optimizer": {"kind": "adam", "momentum": 0.9}}},
                "/training/optimizer/momentum",
                'optimizer has no field "momentum". Received: 0.9',
                id="a field of another optimizer",
            ),
            pytest.param(
                {"training": {"distillation": {"weight": 0}}},
                "/training/distillation/weight",
                "weight must be above 0 and at most 1. Received: 0",
                id="a teacher without weight",
            ),
            pytest.param(
                {"training": {"distillation": {"alpha": 0.5}}},
                "/training/distillation/alpha",
                'distillation has no field "alpha". Received: 0.5',
                id="a teacher of another school",
            ),
            pytest.param(
                {"training": {"metrics": ["acuracy"]}},
                "/training/metrics/0",
                "metrics[0] must be 'accuracy', 'mean_squared_error' or 'mean_absolute_error'. "
                'Received: "acuracy"',
                id="one of many words",
            ),
            pytest.param(
                {"preprocessing": {"rescale": "1/255"}},
                "/preprocessing/rescale",
                'rescale must be a number. Received: "1/255"',
                id="a formula",
            ),
            pytest.param([], "", "the spec must be an object. Received: []", id="a list"),
            pytest.param(
                '{"training": NaN}', "", "a number must be finite. Received: NaN", id="NaN"
            ),
            pytest.param(
                " " * (MAX_SPEC_BYTES + 1),
                "",
                "JSON must be at most 65536 bytes here. Received: 65537 bytes",
                id="too long",
            ),
            pytest.param(
                {"schedule": {"class_name": "Cosine", "config": {}}},
                "/schedule/class_name",
                "class_name must be a schedule of TFMOT (PolynomialDecay, ConstantSparsity). "
                "Received: Cosine",
                id="a schedule that TFMOT has not",
            ),
            pytest.param(
                {"schedule": {"class_name": ["PolynomialDecay"]}},
                "/schedule/kind",
                'kind must be one of "constant", "polynomial_decay", "one_shot", "iterative". '
                "Received: nothing",
                id="a class name that is none",
            ),
        ],
    )
    def test_the_fault_is_named_where_it_stands(self, spec, pointer, message):
        assert faults(spec) == {pointer: message}

    @pytest.mark.parametrize(
        ("spec", "pointer", "message"),
        [
            pytest.param(
                {"pruning_schedule": TFMOT | {"config": TFMOT["config"] | {"final_sparsity": 80}}},
                "/pruning_schedule/config/final_sparsity",
                "final_sparsity must be a fraction in [0, 1). Received: 80",
                id="percent",
            ),
            pytest.param(
                {"block_size": [4]},
                "/block_size",
                "block_size must be two integers. Received: [4]",
                id="block of one side",
            ),
            pytest.param(
                {"block_size": [0, 4]},
                "/block_size",
                "block_size must be at least 1 by 1. Received: [0, 4]",
                id="block of nothing",
            ),
            pytest.param(
                {"block_pooling_type": "SUM"},
                "/block_pooling_type",
                "block_pooling_type must be AVG or MAX. Received: 'SUM'",
                id="pooling",
            ),
            pytest.param(
                {"pruning_schedule": TFMOT, "sparsity_m_by_n": [2, 4]},
                "/pruning_schedule/config/final_sparsity",
                "final_sparsity must be zeros / group (0.5) under n_of_m, or be left out. "
                "Received: 0.8",
                id="a schedule that does not lead to the pattern",
            ),
            pytest.param(
                {"sparsity_m_by_n": [2, 4], "schedule": {"kind": "one_shot"}},
                "/schedule",
                "schedule must be left out beside TFMOT's sparsity_m_by_n. "
                'Received: {"kind": "one_shot"}',
                id="both schedules",
            ),
            pytest.param(
                {"pruning_schedule": TFMOT, "granularity": {"kind": "channel"}},
                "/granularity",
                "granularity must be left out beside TFMOT's pruning_schedule. "
                'Received: {"kind": "channel"}',
                id="both granularities",
            ),
        ],
    )
    def test_a_fault_in_settings_of_tfmot_is_named_where_it_stands(self, spec, pointer, message):
        assert faults(spec) == {pointer: message}

    def test_a_fault_in_a_schedule_of_tfmot_points_into_its_config(self):
        config = TFMOT["config"] | {"final_sparsity": 80}
        schedule = TFMOT | {"config": config}

        assert list(faults({"schedule": schedule})) == ["/schedule/config/final_sparsity"]
        assert list(faults({"layers": [{"match": "a", "schedule": schedule}]})) == [
            "/layers/0/schedule/config/final_sparsity"
        ]

    def test_a_missing_setting_of_tfmot_is_named(self):
        schedule = {"class_name": "ConstantSparsity", "config": {"begin_step": 0}}

        assert list(faults({"schedule": schedule})) == ["/schedule/config/target_sparsity"]

    def test_all_faults_are_named_at_once(self):
        spec = {
            "schedle": {},
            "schedule": {"kind": "constant", "target_sparsity": "a half", "frequency": 1.5},
            "layers": [{"macth": "a"}, {"match": "b", "granularity": {"kind": "channels"}}],
            "training": {"epochs": 0, "optimizer": {"kind": "rmsprop"}},
        }

        assert set(faults(spec)) == {
            "/schedle",
            "/schedule/target_sparsity",
            "/schedule/frequency",
            "/layers/0/macth",
            "/layers/1/granularity/kind",
            "/training/epochs",
            "/training/optimizer/kind",
        }

    def test_long_evidence_is_cut(self):
        message = faults({"webhook": "x" * 1000})["/webhook"]

        assert message.endswith("xxx…")
        assert len(message) < 150


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["constant", "adam", "unstructured", "uniform", "keras", "a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [*JobSpec.model_fields, *Training.model_fields, "kind", "match", "class_name", "x"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*JobSpec.model_fields, "block_size", "pruning_schedule", "x"]), json_values
    )
)
def test_anything_is_either_a_spec_or_refused_with_faults(value):
    try:
        spec = parse_spec(json.dumps(value))
    except RefusedSpecError as error:
        refused = error.errors
    else:
        assert parse_spec(spec.model_dump_json()) == spec
        return

    assert refused
    assert all("Received: " in fault.message for fault in refused)
