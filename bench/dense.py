"""The dense models that are pruned: trained once, and kept."""

from __future__ import annotations

import functools
import hashlib
import inspect
from dataclasses import dataclass
from pathlib import Path

import keras

from bench import models, networks, peer
from bench.data import TASKS, Samples
from bench.kept import Kept


@dataclass(frozen=True)
class Dense:
    """A model, trained; its weights are in a file of ``peer.save_arrays``."""

    name: str
    seed: int
    weights: Path
    accuracy: float

    @property
    def fingerprint(self) -> str:
        """Name the weights by their content."""
        return hashlib.sha256(self.weights.read_bytes()).hexdigest()

    def model(self) -> keras.Model:
        """Return the model itself, compiled for its task."""
        network = getattr(models, self.name)()
        network.set_weights(peer.load_arrays(self.weights))
        network.compile("adam", TASKS[self.name].loss, metrics=["accuracy"])
        return network


def trained(kept: Kept, folder: Path, name: str, seed: int) -> Dense:
    """Return the model ``name``, trained with ``seed`` on the data in ``folder``."""
    sources = [inspect.getsource(part) for part in (networks, models, _train_densely)]
    path = kept.path(f"{name}-dense-{seed}", task_fingerprint(name, folder), sources)
    weights = path.with_suffix(".npz")
    accuracy = kept.measured(
        path, lambda: _train_densely(name, samples_of(name, folder), seed, weights)
    )
    return Dense(name, seed, weights, accuracy)


def _train_densely(name: str, samples: Samples, seed: int, weights: Path) -> float:
    task = TASKS[name]
    keras.utils.set_random_seed(seed)
    model = getattr(models, name)()
    model.compile("adam", task.loss, metrics=["accuracy"])
    model.fit(
        samples.x_train,
        samples.y_train,
        batch_size=task.batch_size,
        epochs=task.epochs,
        verbose=0,
    )
    peer.save_arrays(weights, model.get_weights())
    return accuracy_of(model, samples)


@functools.cache
def samples_of(name: str, folder: Path) -> Samples:
    """Return the data that the model ``name`` is trained and tested on."""
    return TASKS[name].load(folder)


@functools.cache
def task_fingerprint(name: str, folder: Path) -> str:
    """Name the data and the terms of training by their content."""
    samples, task = samples_of(name, folder), TASKS[name]
    digest = hashlib.sha256(repr((task.loss, task.batch_size, task.epochs)).encode())
    for array in (samples.x_train, samples.y_train, samples.x_test, samples.y_test):
        digest.update(array.tobytes())
    return digest.hexdigest()


def accuracy_of(model: keras.Model, samples: Samples) -> float:
    """Return the accuracy of a compiled model on the test samples."""
    scores = model.evaluate(
        samples.x_test, samples.y_test, batch_size=1000, verbose=0, return_dict=True
    )
    return float(scores["accuracy"])
