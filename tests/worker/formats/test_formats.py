"""Each format, written of models of every kind, opened by its own runtime and run."""

import numpy as np
import pytest

import pruning_core
from pruning_core.config import PruningConfig
from pruning_core.schedule import PolynomialDecay

keras = pytest.importorskip("keras")
layers = keras.layers

from worker.dense import fill_zeros  # noqa: E402
from worker.formats import litert  # noqa: E402
from worker.formats.graph import Source, inputs_of, outputs_of  # noqa: E402
from worker.formats.table import FORMATS  # noqa: E402

_CONFIG = PruningConfig(schedule=PolynomialDecay(final_sparsity=0.75))
_FORMATS = ["litert", "litert_fp16", "litert_int8", "litert_sparse", "onnx", "saved_model"]


def _convolutional():
    return keras.Sequential(
        [
            keras.Input((12, 12, 1)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(3, "softmax"),
        ]
    )


def _of_two_inputs():
    left, right = keras.Input((6,), name="left"), keras.Input((6, 1), name="the right one")
    within = keras.Sequential([keras.Input((6,)), layers.Dense(8, "relu")], name="nested")
    joined = layers.concatenate([within(left), layers.Flatten()(right)])
    outputs = [
        layers.Dense(3, "softmax", name="kind")(joined),
        layers.Dense(1, name="size")(joined),
    ]
    return keras.Model([left, right], outputs)


def _recurrent():
    return keras.Sequential(
        [
            keras.Input((7,), dtype="int32"),
            layers.Embedding(20, 16),
            layers.Bidirectional(layers.LSTM(16)),
            layers.Dense(1, "sigmoid"),
        ]
    )


class _Made:
    """A pruned model as it lies in its file, samples, and what it answers to them."""

    def __init__(self, make, folder):
        keras.utils.set_random_seed(0)
        pruning = pruning_core.Pruning(make(), _CONFIG, total_steps=0)
        pruning.finish()
        pruning_core.save(pruning.strip(), folder / "model.keras")
        self.model = keras.saving.load_model(folder / "model.keras")
        self.folder = folder
        generator = np.random.default_rng(0)
        self.samples = {
            port.name: generator.integers(0, 20, (4, *port.shape[1:])).astype(port.dtype)
            if port.dtype == "int32"
            else generator.normal(size=(4, *port.shape[1:])).astype(port.dtype)
            for port in inputs_of(self.model)
        }
        inputs = [*self.samples.values()]
        answers = self.model.predict(inputs if inputs[1:] else inputs[0], verbose=0)
        answers = answers if isinstance(answers, list) else [answers]
        self.answers = dict(
            zip((port.name for port in outputs_of(self.model)), answers, strict=True)
        )
        self.zeros = sum(
            int(np.count_nonzero(weight == 0))
            for layer in self.model._flatten_layers()
            for variable in layer.trainable_variables
            if "kernel" in variable.path and "bias" not in variable.path
            for weight in [variable.numpy()]
            if not layer._layers
        )

    def source(self, *, with_samples=True):
        name = "with" if with_samples else "without"
        samples = tuple(self.samples.values()) if with_samples else None
        return Source.of(self.model, _CONFIG, self.folder / name, samples)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    models = {}

    def make(kind):
        if kind not in models:
            models[kind] = _Made(kind, tmp_path_factory.mktemp("model"))
        return models[kind]

    return make


@pytest.mark.parametrize("form", _FORMATS)
@pytest.mark.parametrize("kind", [_convolutional, _of_two_inputs, _recurrent])
def test_a_file_takes_gives_and_answers_what_the_model_does(made, tmp_path, kind, form):
    model = made(kind)
    FORMATS[form].write(model.source(), tmp_path / "file")

    opened = FORMATS[form].open(tmp_path / "file", 1)

    wanted = [*inputs_of(model.model), *outputs_of(model.model)]
    received = {port.name: port for port in (*opened.inputs, *opened.outputs)}
    assert received.keys() == {port.name for port in wanted}
    for port in wanted:
        assert received[port.name].dtype == port.dtype
        assert received[port.name].shape[1:] == port.shape[1:]
    answers = opened.answer(model.samples)
    for name, answer in model.answers.items():
        assert answers[name] == pytest.approx(answer, abs=FORMATS[form].tolerance)
    counted = opened.weights()
    assert counted.total - counted.nonzero >= model.zeros


def test_a_saved_model_has_each_weight_once_and_tables_of_words_too(tmp_path):
    lookup = layers.IntegerLookup(output_mode="multi_hot")
    lookup.adapt(np.array([7, 11, 13]))
    model = keras.Sequential([keras.Input((1,), dtype="int64"), lookup, layers.Dense(20_000)])
    source = Source.of(model, _CONFIG, tmp_path / "graphs", None)

    FORMATS["saved_model"].write(source, tmp_path / "file")

    words = np.array([[7], [13], [99]])
    (answer,) = (
        FORMATS["saved_model"]
        .open(tmp_path / "file", 1)
        .answer({source.inputs[0].name: words})
        .values()
    )
    assert answer == pytest.approx(model.predict(words, verbose=0), abs=1e-6)
    (stored,) = (tmp_path / "graphs").rglob("variables.data*")
    assert stored.stat().st_size < 1.2 * sum(weight.nbytes for weight in model.get_weights())


def test_names_are_those_of_the_layers_as_a_graph_can_write_them(made):
    model = made(_of_two_inputs).model

    assert [port.name for port in inputs_of(model)] == ["left", "the_right_one"]
    assert [port.name for port in outputs_of(model)] == ["kind", "size"]


@pytest.mark.parametrize("form", ["onnx", "saved_model", "litert"])
def test_a_model_without_recurrence_takes_any_number_of_samples(made, tmp_path, form):
    remarks = FORMATS[form].write(made(_convolutional).source(), tmp_path / "file")

    assert remarks == ()
    opened = FORMATS[form].open(tmp_path / "file", 1)
    assert {port.shape[0] for port in (*opened.inputs, *opened.outputs)} == {None}


def test_litert_takes_recurrent_models_by_one_sample_and_says_so(made, tmp_path):
    remarks = FORMATS["litert"].write(made(_recurrent).source(), tmp_path / "file")

    assert "one sample at a time" in remarks[0]
    opened = FORMATS["litert"].open(tmp_path / "file", 1)
    assert {port.shape[0] for port in (*opened.inputs, *opened.outputs)} == {1}


def _types(path):
    details = litert.LiteRtFile(path, 1)._interpreter.get_tensor_details()
    return [np.dtype(tensor["dtype"]).name for tensor in details]


def test_int8_quantises_convolutions_too_and_computes_with_integers_where_it_has_data(
    made, tmp_path
):
    with_data, without = tmp_path / "with", tmp_path / "without"
    model = made(_convolutional)

    FORMATS["litert_int8"].write(model.source(), with_data)
    remarks = FORMATS["litert_int8"].write(model.source(with_samples=False), without)

    assert "computes in float32" in remarks[0]
    assert _types(with_data).count("float32") == 2, "what goes in, and what comes out"
    assert "int8" in _types(without)
    weight_bytes = sum(variable.numpy().size for variable in model.model.trainable_variables)
    assert with_data.stat().st_size < 1.6 * weight_bytes


@pytest.mark.parametrize("kind", [_convolutional, _recurrent])
def test_what_int8_calls_tensors_that_nobody_sees_takes_no_room(made, tmp_path, kind):
    path = tmp_path / "file"

    FORMATS["litert_int8"].write(made(kind).source(), path)

    names = [
        tensor["name"] for tensor in litert.LiteRtFile(path, 1)._interpreter.get_tensor_details()
    ]
    assert sum(len(name) > 3 for name in names) == 2, "what goes in, and what comes out"


@pytest.mark.parametrize("with_samples", [True, False])
def test_scales_of_int8_weights_have_the_significant_bits_of_float16(made, tmp_path, with_samples):
    path = tmp_path / "file"
    model = made(_convolutional)

    FORMATS["litert_int8"].write(model.source(with_samples=with_samples), path)

    kernel = model.model.layers[-2].kernel.numpy()  # large enough to be quantized in both
    (scales,) = (
        tensor["quantization_parameters"]["scales"]
        for tensor in litert.LiteRtFile(path, 1)._interpreter.get_tensor_details()
        if tensor["shape"].tolist() == [*kernel.T.shape]
    )
    fractions, _ = np.frexp(scales)
    assert (fractions * 2**11 == np.round(fractions * 2**11)).all()
    assert scales == pytest.approx(np.abs(kernel).max(axis=0) / 127, rel=2**-12)


def test_sparse_files_are_less_than_half_of_dense_ones(made, tmp_path):
    for form in ("litert", "litert_sparse"):
        FORMATS[form].write(made(_convolutional).source(), tmp_path / form)

    sizes = [(tmp_path / form).stat().st_size for form in ("litert_sparse", "litert")]
    assert sizes[0] < 0.5 * sizes[1]


def test_a_network_without_zeros_has_the_same_others(made):
    model = keras.models.clone_model(made(_convolutional).model)
    model.set_weights(made(_convolutional).model.get_weights())

    fill_zeros(model)

    for before, after in zip(
        made(_convolutional).model.get_weights(), model.get_weights(), strict=True
    ):
        assert np.array_equal(before[before != 0], after[before != 0])
        if before.ndim > 1:
            assert after.all()
