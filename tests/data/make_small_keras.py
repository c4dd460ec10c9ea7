"""Make ``small.keras``: what the HTTP tests upload, so that they need no TensorFlow.

Run it from the root of the repository: ``python tests/data/make_small_keras.py``.
"""

from pathlib import Path

import keras

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((8,), name="features"),
        keras.layers.Dense(16, activation="relu", name="hidden"),
        keras.layers.Dense(4, activation="softmax", name="classes"),
    ],
    name="small",
)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.save(Path(__file__).with_name("small.keras"))
