"""Makes ``keras2_cnn.h5``: an HDF5 model as Keras 2 wrote it, which Keras 3 reads.

Keras 2 lives on as ``tf_keras``, in an environment of its own beside the full TensorFlow:

    python3 -m venv keras2 && keras2/bin/pip install tf_keras==2.21.0 tensorflow==2.21.0
    keras2/bin/python tests/data/make_keras2_h5.py tests/data/keras2_cnn.h5
"""

import sys

import numpy as np
import tf_keras

layers = tf_keras.layers


def main(path: str) -> None:
    tf_keras.utils.set_random_seed(0)
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
    model.save(path)


if __name__ == "__main__":
    main(sys.argv[1])
