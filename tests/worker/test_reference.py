"""The samples whose answers are kept are as many as fit, whatever the model makes of them."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from app.jobs.spec import Preprocessing  # noqa: E402
from worker.data import Samples  # noqa: E402
from worker.feeding import Feeder  # noqa: E402
from worker.reference import made_up_inputs, reference_inputs  # noqa: E402


def _translator(words):
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(5, 2),
            keras.layers.Dense(words),
        ]
    )


def _feeder(model):
    return Feeder.of(model, Preprocessing(), batch_size=4)


@pytest.mark.parametrize(
    ("words", "samples"),
    [
        pytest.param(2, 32, id="small answers"),
        # 128 places of 50,000 words of 4 bytes are 25.6 MB
        pytest.param(50_000, 2, id="large answers"),
        pytest.param(500_000, 1, id="larger than all together may be"),
    ],
)
def test_made_up_samples_have_answers_that_fit_into_memory(words, samples):
    model = _translator(words)

    (inputs,) = made_up_inputs(_feeder(model), model)

    assert inputs.shape == (samples, 128)


def test_of_held_out_samples_those_are_taken_whose_answers_fit_into_memory():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2**20)])
    held_out = Samples((np.zeros((50, 3)),), None)

    (inputs,) = reference_inputs(_feeder(model), held_out, model)

    assert len(inputs) == 16


def test_answers_in_half_precision_are_weighed_too():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2**20, dtype="bfloat16")])

    (inputs,) = made_up_inputs(_feeder(model), model)

    assert len(inputs) == 32
