"""What plain Keras finds in model files; run by path, it knows nothing of this project.

``python -I worker/plain_keras.py DATA MODEL...`` prints one JSON object for each model: loss and
metrics on the test part of ``DATA``, and the zeros of every weight tensor.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import json
import sys
from typing import Any

import keras
import numpy as np


def measure(model_path: str, data_path: str) -> dict[str, object]:
    """Load a model as anybody would, and measure it."""
    model: Any = keras.saving.load_model(model_path, compile=False, safe_mode=True)
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    with np.load(data_path) as data:
        x, y = data["x_test"].astype("float32"), data["y_test"]
    figures = model.evaluate(x, y, batch_size=128, verbose=0, return_dict=True)
    return {
        **{name: float(value) for name, value in figures.items()},
        "weights": [_count(variable) for variable in model.weights],
    }


def _count(variable: keras.Variable) -> dict[str, object]:
    values: Any = keras.ops.convert_to_numpy(variable)
    return {
        "path": variable.path,
        "size": int(values.size),
        "zeros": int(values.size - np.count_nonzero(values)),
    }


if __name__ == "__main__":
    for path in sys.argv[2:]:
        sys.stdout.write(json.dumps(measure(path, sys.argv[1])) + "\n")
