"""The ``weights`` formats, from a Keras model and back to its answers."""

import keras
import numpy as np
import pytest
from keras import layers

import pruning_core as pc
from worker.formats.graph import Source
from worker.formats.weights import WeightsFile, weights_of, write

SAMPLES = np.random.default_rng(0).normal(size=(5, 8, 8, 4)).astype(np.float32)


def several_kinds():
    keras.utils.set_random_seed(0)
    given = keras.Input((8, 8, 4), name="image")
    seen = layers.Conv2D(8, 3, name="conv")(given)
    seen = layers.DepthwiseConv2D(3, name="depthwise")(seen)
    seen = layers.BatchNormalization()(seen)
    seen = layers.LSTM(6, name="lstm")(layers.Reshape((16, 8))(seen))
    return keras.Model(given, layers.Dense(3, name="answer")(seen))


@pytest.mark.parametrize(
    ("precision", "granularity", "tolerance"),
    [
        pytest.param("float32", pc.Unstructured(), 0, id="float32"),
        pytest.param("float32", pc.NOfM(), 0, id="2 of 4"),
        pytest.param("int8", pc.Block(), 0.02, id="int8"),
    ],
)
def test_the_file_answers_as_the_model(tmp_path, precision, granularity, tolerance):
    config = pc.PruningConfig(schedule=pc.OneShot(), granularity=granularity)
    model = pc.prune(several_kinds(), config=config).model
    pc.save(model, tmp_path / "model.keras")

    remarks = write(Source.of(model, config, tmp_path, None), tmp_path / "w", precision=precision)

    opened = WeightsFile(tmp_path / "w")
    expected = model.predict(SAMPLES, verbose=0)
    received = opened.answer({"image": SAMPLES})["answer"]
    np.testing.assert_allclose(received, expected, atol=max(tolerance, 1e-6))
    assert opened.weights().total - opened.weights().nonzero >= sum(
        tensor.zeros for tensor in pc.report(model).tensors
    )
    assert remarks == ()


def test_kernels_are_known_whether_they_were_pruned_or_not():
    config = pc.PruningConfig(layers=(pc.LayerRule(match="answer", skip=True),))

    weights = list(weights_of(several_kinds(), config))

    assert [weight.name for weight in weights if weight.kernel is not None] == [
        "conv/kernel",
        "depthwise/kernel",
        "lstm/kernel",
        "lstm/recurrent_kernel",
        "answer/kernel",
    ]
    assert len(weights) == 13
