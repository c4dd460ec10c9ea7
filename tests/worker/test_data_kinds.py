"""Data that are no arrays, each by both orders of a job: decoded, trained on, measured."""

import csv
import json
import zipfile

import numpy as np
import pytest

from app.jobs.intake.dataset import summarise_dataset
from app.jobs.intake.model import summarise_model
from app.jobs.plan import plan
from app.jobs.spec import JobSpec
from worker.data import read_dataset
from worker.errors import RefusedError
from worker.messages import PruneOrder, VerifyOrder

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")
layers = keras.layers

_SPEC = {
    "schedule": {"kind": "constant", "target_sparsity": 0.5},
    "training": {"epochs": 1, "batch_size": 16},
}
_GENERATOR = np.random.default_rng(0)


class _Job:
    """Both orders, given as an attempt gives them."""

    def __init__(self, folder, model, upload, **spec):
        self.folder = folder
        path = folder / "uploaded.keras"
        model.save(path)
        asked = JobSpec.model_validate_json(json.dumps(_SPEC | spec))
        self.plan = plan(asked, summarise_model(path), summarise_dataset(upload))
        self.order = PruneOrder(
            folder=folder,
            model=path,
            upload=upload,
            dataset=folder / "dataset.npz",
            artifact=folder / "model.keras",
            reference=folder / "reference.npz",
            spec=self.plan.spec,
            total_steps=self.plan.total_steps,
        )

    def carry_out(self):
        """Prune and verify; return what the downloaded file was found to reach."""
        from worker.pruning import prune
        from worker.verifying import verify

        reports = []
        pruned = prune(self.order, reports.append)
        order = VerifyOrder(
            folder=self.folder,
            dataset=self.order.dataset,
            artifact=self.order.artifact,
            reference=self.order.reference,
            spec=self.order.spec,
            pruned=pruned,
        )
        return verify(order, reports.append)

    @property
    def warnings(self):
        return {notice.code: notice.message for notice in self.plan.warnings}

    @property
    def arrays(self):
        with np.load(self.order.dataset) as arrays:
            return dict(arrays)


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(0)
    yield
    keras.backend.clear_session()


def _table(folder, rows=60):
    path = folder / "flowers.csv"
    values = _GENERATOR.normal(size=(rows, 3)).round(3)
    names = np.array(["iris", "rose"])[(values[:, 0] > 0).astype(int)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["petal", "sepal", "leaf", "species"])
        writer.writerows([*row, name] for row, name in zip(values, names, strict=True))
    return path, values, names


def _perceptron(width=3, units=2, loss="sparse_categorical_crossentropy"):
    model = keras.Sequential(
        [keras.Input((width,)), layers.Dense(8, "relu"), layers.Dense(units, "softmax")]
    )
    model.compile("adam", loss, metrics=["accuracy"])
    return model


def test_a_table_of_numbers_and_names(tmp_path):
    path, values, names = _table(tmp_path)
    job = _Job(tmp_path, _perceptron(), path, data={"label": "species", "shuffle": False})

    verified = job.carry_out()

    assert set(verified.artifact.metrics) == {"loss", "accuracy"}
    assert "iris 0, rose 1" in job.warnings["classes_numbered"]
    np.testing.assert_array_equal(job.arrays["x_train"], values.astype(np.float32))
    np.testing.assert_array_equal(job.arrays["y_train"], names == "rose")


def test_samples_are_shuffled_together_with_their_labels_and_the_same_each_time(tmp_path):
    path, values, names = _table(tmp_path)
    job = _Job(
        tmp_path, _perceptron(loss="categorical_crossentropy"), path, data={"label": "species"}
    )

    job.carry_out()
    first = job.arrays
    job.carry_out()

    assert job.plan.spec.data.shuffle
    order = [
        int(np.flatnonzero((values == row).all(1))[0])
        for row in first["x_train"].round(3).astype(float).round(3)
    ]
    assert sorted(order) == list(range(60)) != order
    # One row with a single 1 each, as the loss takes them.
    np.testing.assert_array_equal(first["y_train"], np.eye(2)[(names[order] == "rose").astype(int)])
    np.testing.assert_array_equal(first["x_train"], job.arrays["x_train"])


def _png(pixels):
    return tf.io.encode_png(pixels).numpy()


def _pets(folder, *, size=(8, 8), parts=("",), each=12):
    path = folder / "pets.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for part in parts:
            for level, name in enumerate(("cats", "dogs")):
                for number in range(each):
                    pixels = np.full((*size, 3), 40 + 150 * level + number, np.uint8)
                    archive.writestr(f"{part}{name}/{number:03}.png", _png(pixels))
        archive.writestr("__MACOSX/._cats", b"junk")
    return path


def _network(shape=(8, 8, 3)):
    model = keras.Sequential(
        [keras.Input(shape), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(2, "softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_a_folder_of_images_for_each_class(tmp_path):
    job = _Job(tmp_path, _network(), _pets(tmp_path), preprocessing={"rescale": 1 / 255})

    verified = job.carry_out()

    assert set(verified.artifact.metrics) == {"loss", "accuracy"}
    arrays = job.arrays
    assert arrays["x_train"].dtype == np.uint8
    np.testing.assert_array_equal(arrays["x_train"][:, 0, 0, 0] >= 190, arrays["y_train"] == 1)


def test_images_of_another_size_become_what_keras_makes_of_them(tmp_path):
    job = _Job(
        tmp_path,
        _network((5, 5, 3)),
        _pets(tmp_path, size=(9, 7), parts=("train/", "test/"), each=3),
        data={"shuffle": False},
    )
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(tmp_path / "pets.zip") as archive:
        archive.extractall(folder)
    theirs = keras.utils.image_dataset_from_directory(
        folder / "test", image_size=(5, 5), shuffle=False, batch_size=6, verbose=False
    )

    verified = job.carry_out()

    [(images, labels)] = list(theirs)
    np.testing.assert_allclose(job.arrays["x_test"], images.numpy(), rtol=1e-6)
    np.testing.assert_array_equal(job.arrays["y_test"], labels.numpy())
    assert verified.artifact.metrics["accuracy"] is not None
    assert "inputs_not_rescaled" in job.warnings


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
    path = tmp_path / "pets.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("cats", "dogs"):
            content = _png(np.zeros((8, 8, 3), np.uint8))
            archive.writestr(f"{name}/1.png", content)
            archive.writestr(f"{name}/2.png", content[:40] if name == "dogs" else content)
    job = _Job(tmp_path, _network(), path)

    with pytest.raises(RefusedError, match=r"dogs/2\.png") as caught:
        job.carry_out()

    assert caught.value.failure.code == "image_unreadable"


def _reviews(folder, each=30):
    path = folder / "reviews.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, word in (("bad", "dull"), ("good", "lovely")):
            for number in range(each):
                text = f"A {word} film, number {number}. Größe: {'x' * number}"
                archive.writestr(f"{name}/{number:03}.txt", text)
    return path


def _reader():
    words = layers.TextVectorization(max_tokens=50, output_sequence_length=6)
    words.adapt(["a dull film", "a lovely film", "number"])
    text = keras.Input((1,), dtype="string", name="text")
    x = layers.Embedding(50, 8, name="embedding")(words(text))
    x = layers.GlobalAveragePooling1D()(x)
    model = keras.Model(text, layers.Dense(2, activation="softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_a_folder_of_texts_for_a_model_with_text_vectorization(tmp_path):
    model = _reader()
    words = model.layers[1].get_vocabulary()
    job = _Job(
        tmp_path,
        model,
        _reviews(tmp_path),
        training={
            "epochs": 8,
            "batch_size": 8,
            "optimizer": {"kind": "adam", "learning_rate": 0.05},
        },
    )

    verified = job.carry_out()

    assert verified.artifact.metrics["accuracy"] > 0.9
    loaded = keras.saving.load_model(job.order.artifact)
    assert loaded.layers[1].get_vocabulary() == words
    assert job.arrays["x_train"].shape == (60, 1)


def test_a_model_of_texts_is_pruned_without_data_too(tmp_path):
    job = _Job(tmp_path, _reader(), _reviews(tmp_path))
    at_once = plan(JobSpec(), summarise_model(job.order.model), None)
    job.order = job.order.model_copy(
        update={"upload": None, "dataset": None, "spec": at_once.spec, "total_steps": 0}
    )

    verified = job.carry_out()

    assert verified.artifact.verified


def _records(folder, examples):
    path = folder / "samples.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for features in examples:
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    return path


def _floats(*values):
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _integers(*values):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _bytes(value):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def test_records_of_numbers(tmp_path):
    values = _GENERATOR.normal(size=(40, 3)).astype(np.float32)
    path = _records(
        tmp_path,
        (
            {"x": _floats(*row), "label": _integers(int(row[0] > 0)), "id": _integers(-7)}
            for row in values
        ),
    )
    features = [
        {"name": "x", "kind": "numbers", "shape": [3]},
        {"name": "label", "kind": "numbers"},
    ]
    job = _Job(tmp_path, _perceptron(), path, data={"features": features, "shuffle": False})

    verified = job.carry_out()

    assert set(verified.artifact.metrics) == {"loss", "accuracy"}
    np.testing.assert_array_equal(job.arrays["x_train"], values)
    np.testing.assert_array_equal(job.arrays["y_train"], values[:, 0] > 0)


@pytest.mark.parametrize("kind", ["image", "raw"])
def test_records_of_images(tmp_path, kind):
    pixels = _GENERATOR.integers(0, 256, (24, 8, 8, 3)).astype(np.uint8)
    encoded = [_bytes(_png(one) if kind == "image" else one.tobytes()) for one in pixels]
    path = _records(
        tmp_path,
        ({"picture": one, "label": _integers(place % 2)} for place, one in enumerate(encoded)),
    )
    picture = {"name": "picture", "kind": kind}
    raw = {} if kind == "image" else {"dtype": "uint8", "shape": [8, 8, 3]}
    features = [picture | raw, {"name": "label", "kind": "numbers"}]
    job = _Job(tmp_path, _network(), path, data={"features": features, "shuffle": False})

    job.carry_out()

    np.testing.assert_array_equal(job.arrays["x_train"], pixels)


def test_a_record_that_was_damaged_on_its_way_is_refused(tmp_path):
    path = _records(tmp_path, ({"x": _floats(1, 2, 3), "label": _integers(0)} for _ in range(20)))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # the checksum of the last record
    path.write_bytes(content)
    features = [
        {"name": "x", "kind": "numbers", "shape": [3]},
        {"name": "label", "kind": "numbers"},
    ]
    job = _Job(tmp_path, _perceptron(), path, data={"features": features})

    with pytest.raises(RefusedError, match="checksum") as caught:
        job.carry_out()

    assert caught.value.failure.code == "data_unreadable"


def test_what_was_decoded_is_mapped_and_split_as_arrays_are(tmp_path):
    path, _, _ = _table(tmp_path)
    job = _Job(
        tmp_path,
        _perceptron(),
        path,
        data={"label": "species"},
        training={"epochs": 1, "validation_split": 0.25},
    )
    job.carry_out()

    dataset = read_dataset(job.order.dataset, inputs=["input"], validation_split=0.25)

    assert (len(dataset.train), len(dataset.validation)) == (45, 15)
    assert isinstance(dataset.train.inputs[0], np.memmap)
