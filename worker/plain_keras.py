"""What plain Keras finds in model files; run by path, it knows nothing of this project.

``python -I worker/plain_keras.py MODEL DATA [MODEL DATA ...]`` prints one JSON object a pair:
loss and accuracy of the classifier on the test part of ``DATA``, and the zeros of every weight
tensor.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


def measure(model_path: str, data_path: str) -> dict[str, object]:
    """Load a model as anybody would, and measure it."""
    model: Any = keras.saving.load_model(model_path, compile=False, safe_mode=True)
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    with np.load(data_path) as data:
        x, y = _inputs(data), data["y_test"]
    figures = model.evaluate(x, y, batch_size=128, verbose=0, return_dict=True)
    return {
        **{name: float(value) for name, value in figures.items()},
        "weights": [_count(variable) for variable in model.weights],
    }


def _inputs(data: Mapping[str, NDArray[Any]]) -> NDArray[Any] | dict[str, NDArray[Any]]:
    if "x_test" in data:
        return data["x_test"].astype("float32")
    named = {name.removeprefix("x_test/"): name for name in data if name.startswith("x_test/")}
    return {name: data[array].astype("float32") for name, array in named.items()}


def _count(variable: keras.Variable) -> dict[str, object]:
    values: Any = keras.ops.convert_to_numpy(variable)
    return {
        "path": variable.path,
        "size": int(values.size),
        "zeros": int(values.size - np.count_nonzero(values)),
    }


if __name__ == "__main__":
    for model, data in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        sys.stdout.write(json.dumps(measure(model, data)) + "\n")
