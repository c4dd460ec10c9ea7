import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from keras import layers

import pruning_core as pc

X = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
NINE_TENTHS = pc.PruningConfig(schedule=pc.OneShot(target_sparsity=0.9))

#: Run by a process that has never heard of this project.
STRANGER = """
import json, sys
import keras
import numpy as np

x = np.load(sys.argv[1])
for path in sys.argv[2:]:
    model = keras.saving.load_model(path, safe_mode=True)
    np.save(path + ".npy", model.predict(x, verbose=0))
assert not {"app", "pruning_core", "worker"} & set(sys.modules), "not plain"
"""


def classifier(*, width=64, compiled=True):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(width), layers.Dense(3)])
    if compiled:
        model.compile("adam", "mse")
    return model


def lstm():
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((6,)), layers.Reshape((3, 2)), layers.Bidirectional(layers.LSTM(4))]
    )
    model.compile("adam", "mse")
    return model


def test_a_process_that_never_heard_of_this_project_loads_the_files(tmp_path):
    np.save(tmp_path / "x.npy", X)
    expected = {}
    for name, model in {"classifier": classifier(), "lstm": lstm()}.items():
        targets = np.zeros((8, *model.output_shape[1:]))
        pruned = pc.prune(model, X, targets, config=NINE_TENTHS, batch_size=4, verbose=0).model
        paths = [str(tmp_path / f"{name}{suffix}.keras") for suffix in ("", "_by_keras")]
        pc.save(pruned, paths[0])
        pruned.save(paths[1])
        expected |= dict.fromkeys(paths, pruned.predict(X, verbose=0))

    subprocess.run(
        [sys.executable, "-I", "-c", STRANGER, str(tmp_path / "x.npy"), *expected],
        check=True,
        cwd=tmp_path,
    )

    for path, outputs in expected.items():
        np.testing.assert_array_equal(np.load(f"{path}.npy"), outputs)


def test_the_members_are_compressed(tmp_path):
    model = pc.prune(classifier(width=2000), config=NINE_TENTHS).model

    pc.save(model, tmp_path / "small.keras")
    model.save(tmp_path / "large.keras")

    small, large = ((tmp_path / f"{name}.keras").stat().st_size for name in ("small", "large"))
    assert small < 0.1 * large
    with zipfile.ZipFile(tmp_path / "small.keras") as archive:
        assert archive.testzip() is None
        assert {member.filename: member.compress_type for member in archive.infolist()} == {
            "config.json": zipfile.ZIP_DEFLATED,
            "metadata.json": zipfile.ZIP_DEFLATED,
            "model.weights.h5": zipfile.ZIP_LZMA,
        }


def test_what_only_training_needs_is_left_out(tmp_path):
    model = classifier()
    model.fit(X, np.zeros((8, 3)), verbose=0)

    pc.save(model, tmp_path / "model.keras")

    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert not loaded.compiled
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert not json.loads(archive.read("config.json"))["compile_config"]
    uncompiled = tmp_path / "uncompiled.keras"
    twin = classifier(compiled=False)
    twin.set_weights(model.get_weights())
    pc.save(twin, uncompiled)
    sizes = [path.stat().st_size for path in (tmp_path / "model.keras", uncompiled)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)


def test_equal_models_give_equal_bytes(tmp_path):
    model = classifier()

    pc.save(model, tmp_path / "one.keras")
    pc.save(model, tmp_path / "other.keras")

    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "other.keras").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.keras") as archive:
        assert {member.date_time[0] for member in archive.infolist()} == {1980}
        assert json.loads(archive.read("metadata.json"))["date_saved"] == "1980-01-01@00:00:00"


def test_an_existing_file_is_replaced_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("old")

    pc.save(classifier(), path)

    assert keras.saving.load_model(path).count_params() == 643
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "model.keras"
    path.write_text("old")

    def full(descriptor):
        del descriptor
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        pc.save(classifier(), path)

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_keras_would_not_load_is_refused(tmp_path):
    with pytest.raises(pc.PruningConfigError, match=r"must end in \.keras.*model\.zip"):
        pc.save(classifier(), tmp_path / "model.zip")


def test_the_file_is_as_readable_as_any_other_that_its_user_makes(tmp_path):
    (tmp_path / "other").touch()

    pc.save(classifier(), tmp_path / "model.keras")

    assert (tmp_path / "model.keras").stat().st_mode == (tmp_path / "other").stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.keras", "other"]
