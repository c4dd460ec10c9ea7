"""Makes the HDF5 models of these tests as Keras 2 wrote them.

``keras2_cnn.h5``: Keras 3 reads it as it is. ``keras2_recurrent.h5``: it does not read the
recurrent layers, and takes ``hard_sigmoid`` for another function. ``keras2_list.h5``: its
configuration is a list of layers, as before Keras 2.2.3.

Keras 2 lives on as ``tf_keras``, which the extra ``keras2`` installs:

    .venv/bin/python tests/data/make_keras2_h5.py tests/data
"""

import json
import sys
from pathlib import Path

import h5py
import numpy as np
import tf_keras

layers = tf_keras.layers


def main(folder: Path) -> None:
    tf_keras.utils.set_random_seed(0)
    _cnn().save(folder / "keras2_cnn.h5")
    tf_keras.utils.set_random_seed(0)
    _recurrent().save(folder / "keras2_recurrent.h5")
    tf_keras.utils.set_random_seed(0)
    _perceptron().save(folder / "keras2_list.h5", include_optimizer=False)
    with h5py.File(folder / "keras2_list.h5", "r+") as file:
        config = json.loads(file.attrs["model_config"])
        listed = {"class_name": "Sequential", "config": _before_2_2_3(config)}
        file.attrs["model_config"] = json.dumps(listed)
        file.attrs["keras_version"] = "2.2.2"


def _cnn() -> tf_keras.Model:
    model = tf_keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(8, 3, activation="relu", name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(16, activation="relu", name="dense"),
            layers.Dropout(0.2),
            layers.Dense(10, activation="softmax", name="classes"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    random = np.random.default_rng(0)
    model.fit(random.random((64, 8, 8, 1)), random.integers(0, 10, 64), verbose=0)
    return model


def _recurrent() -> tf_keras.Model:
    hard = "hard_sigmoid"
    # Wide enough that hard_sigmoid is also met where it is flat.
    wide = tf_keras.initializers.RandomNormal(stddev=0.7, seed=1)
    options = {"kernel_initializer": wide, "bias_initializer": wide, "return_sequences": True}
    steps = layers.Input((6, 3), name="steps")
    x = layers.LSTM(4, recurrent_activation=hard, name="lstm", **options)(steps)
    x = layers.GRU(3, activation=hard, recurrent_activation=hard, name="gru", **options)(x)
    inner = layers.LSTM(2, recurrent_activation=hard, name="both", **options)
    x = layers.Bidirectional(inner, name="ways")(x)
    x = layers.RNN(layers.LSTMCell(3, recurrent_activation=hard), name="of_cell")(x)
    x = layers.Dense(4, activation=hard, kernel_initializer=wide, name="dense")(x)
    x = layers.Dense(4, kernel_initializer=wide, name="before")(x)
    x = layers.Activation(hard, name="hard")(x)
    model = tf_keras.Model(steps, layers.Dense(3, activation="softmax", name="classes")(x))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _perceptron() -> tf_keras.Model:
    return tf_keras.Sequential(
        [
            layers.Dense(5, activation="relu", input_shape=(4,), name="dense"),
            layers.Dense(2, activation="softmax", name="classes"),
        ]
    )


def _before_2_2_3(config: dict) -> list:
    first, *others = config["config"]["layers"]
    assert first["class_name"] == "InputLayer"
    others[0]["config"]["batch_input_shape"] = first["config"]["batch_input_shape"]
    return others


if __name__ == "__main__":
    main(Path(sys.argv[1]))
