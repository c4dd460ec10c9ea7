"""A small job that a spare runner carries out before it says ``ready``.

TensorFlow and Keras convert and set up much when they are first used; a rehearsal takes
that off the first training step of the real job. It leaves out ``pruning_core``: whoever verifies
has to do without it, and which order will come is not known yet.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np

from app.jobs.spec import Preprocessing
from worker.data import Samples
from worker.feeding import Feeder
from worker.messages import Objective
from worker.models import compile_to, evaluate, load_model

_OBJECTIVE = Objective(
    loss="sparse_categorical_crossentropy",
    metrics=({"class_name": "SparseCategoricalAccuracy", "config": {"name": "accuracy"}},),
)


def rehearse() -> None:
    """Save, load, measure and train a model of the commonest layers."""
    model = _saved_and_loaded(
        keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                keras.layers.Rescaling(1 / 255),
                keras.layers.Conv2D(2, 3, activation="relu"),
                keras.layers.MaxPooling2D(),
                keras.layers.Flatten(),
                keras.layers.Dropout(0.5),
                keras.layers.Dense(2, activation="softmax"),
            ]
        )
    )
    samples = Samples((np.zeros((3, 8, 8), np.uint8),), np.zeros(3, np.int64))
    feeder = Feeder.of(model, Preprocessing(), batch_size=2)
    compile_to(_OBJECTIVE, model, optimizer=keras.optimizers.Adam())
    evaluate(model, feeder.in_order(samples))
    model.optimizer.build(model.trainable_variables)
    model.fit(feeder.shuffled(samples, seed=0, epochs=1), shuffle=False, verbose=0)
    keras.backend.clear_session()


def _saved_and_loaded(model: keras.Model) -> keras.Model:
    with TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        model.save(path)
        return load_model(path)
