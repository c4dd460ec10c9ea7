"""Real files, made by Keras and NumPy; hostile ones are made from them."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

_ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Folder of what ``make_models`` writes."""
    folder = tmp_path_factory.mktemp("intake_models")
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.app.jobs.intake.make_models", str(folder)],
        cwd=_ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        check=True,
        capture_output=True,
    )
    return folder


class Keras:
    """A ``.keras`` file that a test changes from inside."""

    def __init__(self, source, folder):
        self.path = folder / "changed.keras"
        self.folder = folder / "members"
        with zipfile.ZipFile(source) as archive:
            archive.extractall(self.folder)

    @property
    def weights(self):
        return self.folder / "model.weights.h5"

    @property
    def config(self):
        return json.loads((self.folder / "config.json").read_bytes())

    def write_config(self, config):
        return self.write_config_text(json.dumps(config))

    def write_config_text(self, text):
        (self.folder / "config.json").write_text(text)
        return self.packed()

    def layer(self, config, name):
        entries = config["config"]["layers"]
        return next(entry for entry in entries if entry["config"]["name"] == name)

    def change_weights(self, change):
        with h5py.File(self.weights, "r+") as file:
            change(file)
        return self.packed()

    def packed(self, method=zipfile.ZIP_STORED):
        with zipfile.ZipFile(self.path, "w", method) as archive:
            for member in sorted(self.folder.rglob("*")):
                archive.write(member, member.relative_to(self.folder).as_posix())
        return self.path


@pytest.fixture
def cnn(models, tmp_path):
    return Keras(models / "cnn.keras", tmp_path)


@pytest.fixture
def attention(models, tmp_path):
    return Keras(models / "attention.keras", tmp_path)


@pytest.fixture
def h5(models, tmp_path):
    """A function that changes a copy of the CNN's HDF5 file and returns its path."""
    path = tmp_path / "changed.h5"
    shutil.copy(models / "cnn.h5", path)

    def changed(change):
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return changed


@pytest.fixture
def npz(tmp_path):
    """A function that writes arrays and returns the path."""
    path = tmp_path / "data.npz"

    def written(**arrays):
        np.savez(path, **arrays)
        return path

    return written
