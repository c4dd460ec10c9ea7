"""Every model and dataset of the end-to-end tests, made at once: importing Keras takes seconds.

``python -m tests.e2e.make_models FOLDER``. Only the network of digits is trained.
"""

import csv
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from worker import demo_model

layers = keras.layers


def main(folder: Path) -> None:
    demo_model.main(folder, epochs=5)
    with np.load(folder / "digits.npz") as digits:
        _write_variants(folder, dict(digits))
        _write_pictures(folder, digits["x_test"], digits["y_test"])
    _write_steps(folder / "steps.csv")
    _save(_two_inputs(), folder / "two_inputs.keras")
    _save(_nested(), folder / "nested.keras")
    _save(_lstm(), folder / "lstm.keras")
    _save(_attention(), folder / "attention.keras")
    keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Lambda(lambda x: x), layers.Flatten(), layers.Dense(10)]
    ).save(folder / "lambda.keras")


def _write_variants(folder: Path, digits: dict[str, np.ndarray]) -> None:
    """Write the same digits as left and right halves, as rows, and without labels."""
    halves, rows = {}, {}
    for part in ("train", "test"):
        x, y = digits[f"x_{part}"], digits[f"y_{part}"]
        halves |= {
            f"x_{part}/left": x[:, :, :4],
            f"x_{part}/right": x[:, :, 4:],
            f"y_{part}": y,
        }
        rows |= {f"x_{part}": x[..., 0], f"y_{part}": y}
    np.savez(folder / "halves.npz", **halves)
    np.savez(folder / "rows.npz", **rows)
    np.savez(folder / "unlabelled.npz", x_train=digits["x_train"], x_test=digits["x_test"])


def _write_pictures(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Write some digits as PNGs: in a folder for each class, and as records."""
    pixels = np.clip(images, 0, 255).astype(np.uint8)[:120]
    pictures = [tf.io.encode_png(one.reshape(8, 8, 1)).numpy() for one in pixels]
    with zipfile.ZipFile(folder / "digits.zip", "w") as archive:
        for place, (picture, label) in enumerate(zip(pictures, labels, strict=False)):
            archive.writestr(f"digits/{label}/{place:03}.png", picture)
    with tf.io.TFRecordWriter(str(folder / "digits.tfrecord")) as writer:
        for picture, label in zip(pictures, labels, strict=False):
            features = {
                "picture": tf.train.Feature(bytes_list=tf.train.BytesList(value=[picture])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[int(label)])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())


def _write_steps(path: Path) -> None:
    """Write a table that fills the input of ``keras2_recurrent.h5``, six steps of three."""
    values = np.random.default_rng(0).normal(size=(120, 18)).round(4)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"v{place}" for place in range(18)), "label"])
        writer.writerows([*row, int(row[:3].argmax())] for row in values)


def _save(model: keras.Model, path: Path) -> None:
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.save(path)


def _two_inputs() -> keras.Model:
    left, right = keras.Input((8, 4, 1), name="left"), keras.Input((8, 4, 1), name="right")
    joined = layers.Concatenate()([layers.Flatten()(left), layers.Flatten()(right)])
    hidden = layers.Dense(64, activation="relu")(joined)
    return keras.Model([left, right], layers.Dense(10, activation="softmax")(hidden))


def _nested() -> keras.Model:
    backbone = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.Flatten(),
        ],
        name="backbone",
    )
    image = keras.Input((8, 8, 1))
    return keras.Model(image, layers.Dense(10, activation="softmax")(backbone(image)))


def _lstm() -> keras.Model:
    return keras.Sequential(
        [keras.Input((8, 8)), layers.LSTM(24), layers.Dense(10, activation="softmax")]
    )


def _attention() -> keras.Model:
    rows = keras.Input((8, 8))
    x = layers.Flatten()(layers.MultiHeadAttention(2, 4, name="attention")(rows, rows))
    x = layers.Dense(32, activation="relu", name="hidden")(x)
    return keras.Model(rows, layers.Dense(10, activation="softmax", name="classes")(x))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
