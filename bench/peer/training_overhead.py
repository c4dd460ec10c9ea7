"""TFMOT's side of ``bench.training_overhead``.

The first request is ``{"network", "data", "weights"}``. Then ``"dense"`` and ``"pruned"`` are
answered by what ``Stopwatch.time`` returns, and ``"fine-tune"`` by the seconds it took.
"""

# The packages are installed in the peer's environment alone.
# pyright: reportMissingModuleSource=false

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow_model_optimization as tfmot
import tf_keras as keras
from numpy.typing import NDArray

from bench.peer import answer, load_arrays, requests
from bench.stopwatch import (
    FREQUENCY,
    INITIAL_SPARSITY,
    NETWORKS,
    SPARSITY,
    Network,
    Stopwatch,
    compiled,
)


def main() -> None:
    """Answer requests."""
    asked = requests()
    order = next(asked)
    network = NETWORKS[order["network"]]
    images, labels = network.data(Path(order["data"]))
    weights = load_arrays(Path(order["weights"]))
    constant = tfmot.sparsity.keras.ConstantSparsity(SPARSITY, begin_step=0, frequency=FREQUENCY)
    dense = Stopwatch(keras, network, compiled(keras, network.build(keras)))
    pruned = Stopwatch(
        keras,
        network,
        compiled(keras, _wrapped(network, weights, constant)),
        callbacks=[tfmot.sparsity.keras.UpdatePruningStep()],
    )
    answer("ready")
    for request in asked:
        match request:
            case "dense":
                answer(dense.time(images, labels))
            case "pruned":
                answer(pruned.time(images, labels))
            case _:
                answer(_fine_tune(network, weights, images, labels))


def _wrapped(network: Network, weights: Sequence[NDArray[Any]], schedule: Any) -> Any:
    model = network.build(keras)
    model.set_weights(weights)
    return tfmot.sparsity.keras.prune_low_magnitude(model, pruning_schedule=schedule)


def _fine_tune(
    network: Network, weights: Sequence[NDArray[Any]], images: NDArray[Any], labels: NDArray[Any]
) -> float:
    started = time.perf_counter()
    schedule = tfmot.sparsity.keras.PolynomialDecay(
        initial_sparsity=INITIAL_SPARSITY,
        final_sparsity=SPARSITY,
        begin_step=0,
        end_step=network.steps(images),
        frequency=FREQUENCY,
    )
    model = compiled(keras, _wrapped(network, weights, schedule))
    model.fit(
        images,
        labels,
        batch_size=network.batch_size,
        epochs=network.epochs,
        verbose=0,
        callbacks=[tfmot.sparsity.keras.UpdatePruningStep()],
    )
    tfmot.sparsity.keras.strip_pruning(model)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
