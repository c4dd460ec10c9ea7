"""What becomes of a model that is pruned without labels, or without any data.

``python -m bench.without_labels --keep FOLDER`` takes the dense models of ``bench.accuracy``, from
the same FOLDER, and a small one with batch normalisation, and prunes them

- without data: at once, by each allocation;
- with 500 training images without labels: at once, at once with batch normalisation measured anew
  on them, and distilled on them for ten epochs;
- with all labels: for two epochs, and with batch normalisation measured anew afterwards.

The tables show the accuracy in percent of the test samples, means over the seeds; the last line is
JSON, the same as fractions.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

import pruning_core as pc
from bench.data import TASKS, Samples, add_data_folder
from bench.dense import Dense, accuracy_of, samples_of, trained
from bench.kept import Kept
from pruning_core.batch_norm import recalibrate
from pruning_core.config import Allocation

SEEDS = (0, 1, 2)
FEW = 500

#: From a dense model, its samples and a sparsity to the pruned model.
Pruner = Callable[[Dense, Samples, float], keras.Model]
Figures = dict[str, dict[str, float]]  #: Accuracy by sparsity, by the name of the pruner.


def main() -> None:
    """Prune, measure, print."""
    arguments = _arguments()
    bench = Bench(Kept(arguments.keep), arguments.data.absolute(), arguments.seeds)
    figures = {
        "without data": {
            model: bench.figures(model, _AT_ONCE, (0.5, 0.8, 0.9, 0.95))
            for model in ("mnist_cnn", "imdb_lstm", "mnist_batch_norm")
        },
        "without labels": {
            "mnist_batch_norm": bench.figures("mnist_batch_norm", _UNLABELLED, (0.8, 0.9, 0.95))
        },
        "with labels": {
            "mnist_batch_norm": bench.figures("mnist_batch_norm", _LABELLED, (0.9, 0.95, 0.98))
        },
    }
    for title, by_model in figures.items():
        for model, by_sparsity in by_model.items():
            _print(f"{model} {title}", by_sparsity)
    print(json.dumps(figures))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_data_folder(parser)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    return parser.parse_args()


@dataclass(frozen=True)
class Bench:
    """Where things are."""

    kept: Kept
    data: Path  #: Folder of the data.
    seeds: Sequence[int]

    def figures(
        self, model: str, pruners: Mapping[str, Pruner], sparsities: Sequence[float]
    ) -> Figures:
        """Return what becomes of ``model``, the mean over the seeds."""
        samples = samples_of(model, self.data)
        networks = [trained(self.kept, self.data, model, seed) for seed in self.seeds]
        dense = statistics.fmean(network.accuracy for network in networks)
        return {
            str(sparsity): {
                "dense": round(dense, 4),
                **{
                    name: round(_mean(networks, samples, pruner, sparsity), 4)
                    for name, pruner in pruners.items()
                },
            }
            for sparsity in sparsities
        }


def _mean(networks: Sequence[Dense], samples: Samples, pruner: Pruner, sparsity: float) -> float:
    return statistics.fmean(
        accuracy_of(pruner(network, samples, sparsity), samples) for network in networks
    )


def _at_once(
    dense: Dense, samples: Samples, sparsity: float, *, allocation: Allocation | None = None
) -> keras.Model:
    del samples
    config = pc.PruningConfig(schedule=pc.OneShot(target_sparsity=sparsity), allocation=allocation)
    return pc.prune(dense.model(), config=config).model


def _measured_anew(dense: Dense, samples: Samples, sparsity: float) -> keras.Model:
    model = _at_once(dense, samples, sparsity)
    recalibrate(model, [samples.x_train[:FEW]])
    return model


def _distilled(dense: Dense, samples: Samples, sparsity: float) -> keras.Model:
    keras.utils.set_random_seed(dense.seed)
    config = pc.PruningConfig(
        schedule=pc.PolynomialDecay(final_sparsity=sparsity, frequency=1),
        allocation=pc.LayerAdaptive(),
    )
    return pc.prune(
        dense.model(), samples.x_train[:FEW], config=config, epochs=10, batch_size=50, verbose=0
    ).model


@functools.cache
def _fine_tuned(dense: Dense, samples: Samples, sparsity: float) -> keras.Model:
    keras.utils.set_random_seed(dense.seed)
    task = TASKS[dense.name]
    config = pc.PruningConfig(schedule=pc.PolynomialDecay(final_sparsity=sparsity))
    return pc.prune(
        dense.model(),
        samples.x_train,
        samples.y_train,
        config=config,
        epochs=task.epochs,
        batch_size=task.batch_size,
        verbose=0,
    ).model


def _fine_tuned_and_measured_anew(dense: Dense, samples: Samples, sparsity: float) -> keras.Model:
    tuned = _fine_tuned(dense, samples, sparsity)
    model = dense.model()
    model.set_weights(tuned.get_weights())
    recalibrate(model, [samples.x_train[at : at + 1000] for at in range(0, 10_000, 1000)])
    return model


_AT_ONCE: dict[str, Pruner] = {
    "uniform": functools.partial(_at_once, allocation=pc.Uniform()),
    "erdos_renyi_kernel": functools.partial(_at_once, allocation=pc.ErdosRenyiKernel()),
    "global": functools.partial(_at_once, allocation=pc.Global()),
    "layer_adaptive": _at_once,
}
_UNLABELLED: dict[str, Pruner] = {
    "at once": _at_once,
    "recalibrated": _measured_anew,
    "distilled": _distilled,
}
_LABELLED: dict[str, Pruner] = {
    "fine-tuned": _fine_tuned,
    "recalibrated": _fine_tuned_and_measured_anew,
}


def _print(title: str, figures: Figures) -> None:
    columns = list(next(iter(figures.values())))
    print(f"{title:<36}" + "".join(f"{name:>20}" for name in columns))
    for sparsity, row in figures.items():
        print(f"{sparsity:>36}" + "".join(f"{100 * row[name]:20.2f}" for name in columns))
    print()


if __name__ == "__main__":
    main()
