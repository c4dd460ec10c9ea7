"""What pruning adds to a training, here and in TFMOT, in the same run.

``python -m bench.training_overhead --data FOLDER`` (or ``ESPALIER_BENCH_DATA``, or
``../shared/data``) takes three networks: the 12 MB MNIST CNN, a small one (Conv 12 3x3, pool,
Dense 10), and MobileNetV1-0.25 at 96x96 on noise. In each round the four trainings take
turns: dense and pruned, in Keras 3 and in ``tf_keras``. A ratio is the median of the ratios within
a round, with its quartiles.

- step: 100 of them, one mask update among them; dense as plain Keras makes it.
- update: how much longer the step is that has the mask update.
- fine-tuning: from a trained model to a stripped one, on the clock; same data, weights, batches.

A mask update of 100 million weights, everything that the callback does, is held against one read
of them (``sum``).

The last line is JSON; the aims are ``ours`` at most 1.02, ``wall_over_tfmot`` at most 1,
``ours_over_tfmot`` at most 0.25 and ``over_one_read`` at most 10.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

import pruning_core as pc
from bench import peer
from bench.data import add_data_folder
from bench.stopwatch import (
    FREQUENCY,
    INITIAL_SPARSITY,
    NETWORKS,
    SPARSITY,
    Network,
    Stopwatch,
    compiled,
)

_LARGE = "mask_update"
_LARGE_SIDE = 10_000


@dataclass
class Measured:
    """Seconds on one network; a figure a round of each training."""

    steps: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    updates: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    fine_tunings: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def main() -> None:
    """Measure, and print a table."""
    arguments = _arguments()
    figures: dict[str, dict[str, float]] = {}
    update: dict[str, float] = {}
    for name in arguments.models:
        if name == _LARGE:
            update["over_one_read"] = _report_large(_update_and_read(arguments.rounds))
        else:
            measured = _measure(NETWORKS[name], arguments)
            figures[name] = _report(name, measured)
            if name == "mnist_cnn":
                ratios = _ratios(measured.updates, "ours", "tfmot")
                update["ours_over_tfmot"] = round(statistics.median(ratios), 3)
    print(json.dumps(figures | ({_LARGE: update} if update else {})))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_data_folder(parser)
    names = [*NETWORKS, _LARGE]
    parser.add_argument("--models", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=9, help="of 100 steps a training")
    parser.add_argument("--fine-tunings", type=int, default=3, help="whole ones; 0 for none")
    return parser.parse_args()


def _measure(network: Network, arguments: argparse.Namespace) -> Measured:
    keras.utils.set_random_seed(0)
    model = compiled(keras, network.build(keras))
    images, labels = network.data(arguments.data)
    measured = Measured()
    with (
        tempfile.TemporaryDirectory(prefix="espalier-") as folder,
        peer.talking_to("training_overhead") as tfmot,
    ):
        weights = Path(folder, "weights.npz")
        peer.save_arrays(weights, model.get_weights())
        tfmot.ask({"network": network.name, "data": str(arguments.data), "weights": str(weights)})
        trainings = {
            **_trainings(network, model, images, labels),
            "tfmot dense": partial(tfmot.ask, "dense"),
            "tfmot": partial(tfmot.ask, "pruned"),
        }
        for round_ in range(arguments.rounds):
            # Each goes before the other as often as after it.
            for name in list(trainings)[:: -1 if round_ % 2 else 1]:
                seconds, update = trainings[name]()
                measured.steps[name].append(seconds / FREQUENCY)
                measured.updates[name].append(update)
        for _ in range(arguments.fine_tunings):
            measured.fine_tunings["ours"].append(_fine_tune(network, model, images, labels))
            measured.fine_tunings["tfmot"].append(tfmot.ask("fine-tune"))
    return measured


def _trainings(
    network: Network, model: keras.Model, images: NDArray[Any], labels: NDArray[Any]
) -> dict[str, Callable[[], tuple[float, float]]]:
    config = pc.PruningConfig(schedule=pc.Constant(target_sparsity=SPARSITY, frequency=FREQUENCY))
    pruning = pc.Pruning(model, config, total_steps=1_000_000)
    dense = keras.models.clone_model(model)
    dense.set_weights(model.get_weights())
    watches = {
        "ours dense": Stopwatch(keras, network, compiled(keras, dense)),
        "ours": Stopwatch(keras, network, pruning.model, callbacks=[pruning.callback]),
    }
    return {name: partial(watch.time, images, labels) for name, watch in watches.items()}


def _fine_tune(
    network: Network, model: keras.Model, images: NDArray[Any], labels: NDArray[Any]
) -> float:
    started = time.perf_counter()
    schedule = pc.PolynomialDecay(
        initial_sparsity=INITIAL_SPARSITY,
        final_sparsity=SPARSITY,
        end_step=network.steps(images),
        frequency=FREQUENCY,
    )
    pc.prune(
        model,
        images,
        labels,
        config=pc.PruningConfig(schedule=schedule),
        epochs=network.epochs,
        batch_size=network.batch_size,
        verbose=0,
    )
    return time.perf_counter() - started


def _update_and_read(rounds: int) -> dict[str, list[float]]:
    """Return seconds of updates and reads; the first update of each round prunes what is dense."""
    model = keras.Sequential(
        [keras.Input((_LARGE_SIDE,)), keras.layers.Dense(_LARGE_SIDE, use_bias=False)]
    )
    model.compile("sgd", "mse")
    config = pc.PruningConfig(
        schedule=pc.OneShot(target_sparsity=SPARSITY), allocation=pc.Uniform()
    )
    pruning = pc.Pruning(model, config, total_steps=0, copy=False)
    weights = np.random.default_rng(0).standard_normal((_LARGE_SIDE, _LARGE_SIDE), np.float32)
    pruning.finish()  # compiles
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        model.layers[0].kernel.assign(weights)
        seconds["read"].append(_seconds(weights.sum))
        seconds["update of dense weights"].append(_seconds(pruning.finish))
        seconds["update of sparse weights"].append(_seconds(pruning.finish))
    return seconds


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _ratios(seconds: Mapping[str, Sequence[float]], part: str, over: str) -> list[float]:
    return [one / other for one, other in zip(seconds[part], seconds[over], strict=True)]


def _report(name: str, measured: Measured) -> dict[str, float]:
    print(f"{name:<28}{'ours':>10}{'tfmot':>10}{'ours / tfmot':>28}")
    for what, seconds, unit in (
        ("dense step, ms", {side: measured.steps[f"{side} dense"] for side in _SIDES}, 1000),
        ("step, ms", measured.steps, 1000),
        ("update, ms", measured.updates, 1000),
        ("fine-tuning, s", measured.fine_tunings, 1),
    ):
        if seconds["ours"]:
            medians = [unit * statistics.median(seconds[side]) for side in _SIDES]
            ratios = _spread(_ratios(seconds, "ours", "tfmot"))
            print(f"  {what:<26}{medians[0]:>10.1f}{medians[1]:>10.1f}{ratios:>28}")
    over_dense = {side: _ratios(measured.steps, side, f"{side} dense") for side in _SIDES}
    for side, ratios in over_dense.items():
        print(f"  {'step, pruned / dense, ' + side:<28}{_spread(ratios):>46}")
    figures = {side: round(statistics.median(ratios), 3) for side, ratios in over_dense.items()}
    if measured.fine_tunings:
        wall = _ratios(measured.fine_tunings, "ours", "tfmot")
        figures["wall_over_tfmot"] = round(statistics.median(wall), 3)
    return figures


_SIDES = ("ours", "tfmot")


def _report_large(seconds: Mapping[str, Sequence[float]]) -> float:
    print(f"{f'{_LARGE_SIDE**2:,} weights':<28}{'ms':>10}{'/ one read':>38}")
    print(f"  {'read':<26}{1000 * statistics.median(seconds['read']):>10.1f}")
    medians: list[float] = []
    for name in ("update of dense weights", "update of sparse weights"):
        ratios = _ratios(seconds, name, "read")
        medians.append(statistics.median(ratios))
        print(f"  {name:<26}{1000 * statistics.median(seconds[name]):>10.1f}{_spread(ratios):>38}")
    return round(max(medians), 2)


def _spread(ratios: Sequence[float]) -> str:
    """Median, and the quartiles where there are enough."""
    if len(ratios) < _ENOUGH_FOR_QUARTILES:
        return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


_ENOUGH_FOR_QUARTILES = 4


if __name__ == "__main__":
    main()
