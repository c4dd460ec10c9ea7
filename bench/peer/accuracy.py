"""TFMOT's side of ``bench.accuracy``: fine-tune trained weights with its tutorial's recipe.

A request is a JSON object ``{"model", "data", "weights", "sparsity", "seed"}``, an answer the
accuracy of the stripped model.

The recipe is the one of TFMOT's Keras tutorial: ``PolynomialDecay`` from 0.5 to the sparsity over
the whole fine-tuning, power 3, its frequency of 100 steps, Adam at 0.001.
"""

# The packages are installed in the peer's environment alone.
# pyright: reportMissingModuleSource=false

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow_model_optimization as tfmot
import tf_keras as keras
from tf_keras import layers

from bench import networks
from bench.data import TASKS, Samples, Task
from bench.peer import answer, load_arrays, requests

_NETWORKS = {"mnist_cnn": networks.mnist_cnn, "imdb_lstm": networks.imdb_lstm}


def main() -> None:
    """Answer requests."""
    for request in requests():
        task = TASKS[request["model"]]
        samples = task.load(Path(request["data"]))
        keras.utils.set_random_seed(request["seed"])
        model = _NETWORKS[request["model"]](keras)
        model.set_weights(load_arrays(Path(request["weights"])))
        pruned = _fine_tuned(model, task, samples, request["sparsity"])
        answer(_accuracy(pruned, task, samples))


def _fine_tuned(model: Any, task: Task, samples: Samples, sparsity: float) -> Any:
    schedule = tfmot.sparsity.keras.PolynomialDecay(
        initial_sparsity=0.5,
        final_sparsity=sparsity,
        begin_step=0,
        end_step=task.steps(samples),
    )

    def wrapped(layer: Any) -> Any:
        if isinstance(layer, layers.Rescaling):  # TFMOT refuses it
            return layer
        return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule)

    pruning = keras.models.clone_model(model, clone_function=wrapped)
    pruning.compile("adam", task.loss, metrics=["accuracy"])
    pruning.fit(
        samples.x_train,
        samples.y_train,
        batch_size=task.batch_size,
        epochs=task.epochs,
        callbacks=[tfmot.sparsity.keras.UpdatePruningStep()],
        verbose=0,
    )
    return tfmot.sparsity.keras.strip_pruning(pruning)


def _accuracy(model: Any, task: Task, samples: Samples) -> float:
    model.compile(loss=task.loss, metrics=["accuracy"])
    _, accuracy = model.evaluate(samples.x_test, samples.y_test, batch_size=1000, verbose=0)
    return accuracy


if __name__ == "__main__":
    main()
