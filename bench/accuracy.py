"""What sparsity costs in accuracy: ours against TFMOT's, fine-tuned from the same dense weights.

``python -m bench.accuracy --keep FOLDER`` trains the 12 MB MNIST CNN and the IMDB LSTM densely for
two epochs, and fine-tunes each for two more at each sparsity, with three seeds: once by TFMOT, in
its own environment (its recipe is in ``bench.peer.accuracy``), and once by each of our recipes.
Same data, batches, steps and optimizer (Adam at 0.001, its state forgotten).

``ours``       begins at 1 - sqrt(1 - sparsity), not dense; Erdos-Renyi-kernel allocation; masks
               chosen anew every 20 steps, not every 100; a learning rate that cools down in the
               end; from 0.98 on, distillation from the unpruned model, which below that knows
               no more than what is left of it
``default``    none of it: what ``prune`` does when it is told the sparsity alone
``no_...``     ``ours`` without one of its parts, ``starts_dense`` too; ``distillation``: with it
               at every sparsity

A full run takes hours. What each training came to is kept in FOLDER, in a file that is named by
all that decides it, the sources that matter among it; a second run goes on from there.
``--models``, ``--sparsities``, ``--seeds`` and ``--recipes`` choose a part; the peer's recipe is
called ``tfmot``. The data are ``mnist.npz`` and ``imdb.npz`` in ``--data``, which is
``ESPALIER_BENCH_DATA`` or ``../shared/data`` when left out.

The table shows means over the seeds and the largest deviation from them, in percent of the test
samples; ``gap`` is what is lost of the dense accuracy, as a share of what TFMOT loses. The last
line is JSON: accuracies, means over the seeds.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import inspect
import json
import math
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

import pruning_core as pc
from bench import networks, peer
from bench.data import TASKS, Samples, add_data_folder
from bench.dense import Dense, accuracy_of, samples_of, task_fingerprint, trained
from bench.kept import Kept

MODELS = ("mnist_cnn", "imdb_lstm")
SPARSITIES = (0.8, 0.9, 0.95, 0.98, 0.99)
SEEDS = (0, 1, 2)
PEER = "tfmot"


@dataclass(frozen=True)
class Recipe:
    """How we fine-tune; what is left out is as ``prune`` has it."""

    starts_halfway: bool = False  #: At 1 - sqrt(1 - final): what is left shrinks as much after it.
    allocation: pc.ErdosRenyiKernel | None = None
    frequency: int = 100
    distil_from: float | None = None  #: Sparsity from which on the unpruned model teaches.
    cool_down: bool = False

    def config(self, sparsity: float) -> pc.PruningConfig:
        """Return what to prune, and how far."""
        schedule = pc.PolynomialDecay(
            initial_sparsity=1 - math.sqrt(1 - sparsity) if self.starts_halfway else 0.0,
            final_sparsity=sparsity,
            frequency=self.frequency,
        )
        return pc.PruningConfig(schedule=schedule, allocation=self.allocation)

    def distillation(self, sparsity: float) -> pc.Distillation | None:
        """Return how much the unpruned model teaches."""
        teaches = self.distil_from is not None and sparsity >= self.distil_from
        return pc.Distillation() if teaches else None


OURS = Recipe(
    starts_halfway=True,
    allocation=pc.ErdosRenyiKernel(),
    frequency=20,
    distil_from=0.98,
    cool_down=True,
)
RECIPES = {
    "ours": OURS,
    "default": Recipe(),
    "starts_dense": dataclasses.replace(OURS, starts_halfway=False),
    "no_allocation": dataclasses.replace(OURS, allocation=None),
    "no_frequency": dataclasses.replace(OURS, frequency=Recipe.frequency),
    "no_distillation": dataclasses.replace(OURS, distil_from=None),
    "distillation": dataclasses.replace(OURS, distil_from=0.0),
    "no_cool_down": dataclasses.replace(OURS, cool_down=False),
}


@dataclass(frozen=True)
class Row:
    """What became of a model at one sparsity, seed by seed."""

    model: str
    sparsity: float
    accuracies: dict[str, list[float]]  #: By recipe, the dense one and the peer's among them.

    def mean(self, recipe: str) -> float:
        """Return the mean over the seeds."""
        return statistics.fmean(self.accuracies[recipe])


def main() -> None:
    """Train what is not known yet, and print the table."""
    arguments = _arguments()
    with ExitStack() as stack:
        bench = Bench(
            kept=Kept(arguments.keep),
            data=arguments.data.absolute(),
            tfmot=functools.cache(lambda: stack.enter_context(peer.talking_to("accuracy"))),
        )
        rows = [
            bench.row(model, sparsity, arguments.seeds, arguments.recipes)
            for model in arguments.models
            for sparsity in arguments.sparsities
        ]
    _report(rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_data_folder(parser)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--sparsities", nargs="+", type=float, default=SPARSITIES)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--recipes", nargs="+", choices=(*RECIPES, PEER), default=["ours", PEER])
    return parser.parse_args()


@dataclass(frozen=True)
class Bench:
    """Where things are; each training is done when it is first asked for."""

    kept: Kept
    data: Path  #: Folder of the data.
    tfmot: Callable[[], peer.Peer]  #: Started by the first call.

    def row(self, model: str, sparsity: float, seeds: Sequence[int], recipes: Sequence[str]) -> Row:
        """Return what becomes of ``model`` at ``sparsity``."""
        networks = [trained(self.kept, self.data, model, seed) for seed in seeds]
        accuracies = {
            recipe: [self._pruned(dense, recipe, sparsity) for dense in networks]
            for recipe in recipes
        }
        return Row(model, sparsity, {"dense": [dense.accuracy for dense in networks], **accuracies})

    def _pruned(self, dense: Dense, recipe: str, sparsity: float) -> float:
        name = f"{dense.name}-{recipe}-{sparsity}-{dense.seed}"
        begins = (task_fingerprint(dense.name, self.data), dense.fingerprint)
        if recipe == PEER:
            path = self.kept.path(name, begins, _peer_source())
            return self.kept.measured(path, lambda: self._by_tfmot(dense, sparsity))
        path = self.kept.path(name, begins, RECIPES[recipe], _own_source())
        samples = functools.partial(samples_of, dense.name, self.data)
        return self.kept.measured(path, lambda: _prune(dense, samples(), RECIPES[recipe], sparsity))

    def _by_tfmot(self, dense: Dense, sparsity: float) -> float:
        return self.tfmot().ask(
            {
                "model": dense.name,
                "data": str(self.data),
                "weights": str(dense.weights.absolute()),
                "sparsity": sparsity,
                "seed": dense.seed,
            }
        )


def _peer_source() -> list[str]:
    recipe = Path(peer.__file__).with_name("accuracy.py")
    return [recipe.read_text(), inspect.getsource(networks)]


def _own_source() -> list[str]:
    library = sorted(Path(pc.__file__).parent.glob("*.py"))
    return [inspect.getsource(_prune), *(module.read_text() for module in library)]


def _prune(dense: Dense, samples: Samples, recipe: Recipe, sparsity: float) -> float:
    task = TASKS[dense.name]
    keras.utils.set_random_seed(dense.seed)
    pruned = pc.prune(
        dense.model(),
        samples.x_train,
        samples.y_train,
        config=recipe.config(sparsity),
        epochs=task.epochs,
        batch_size=task.batch_size,
        distillation=recipe.distillation(sparsity),
        cool_down=recipe.cool_down,
        verbose=0,
    )
    return accuracy_of(pruned.model, samples)


def _report(rows: Sequence[Row]) -> None:
    recipes = list(rows[0].accuracies)
    others = [recipe for recipe in recipes if recipe not in {"dense", PEER}]
    shares = others if PEER in recipes else []
    print(
        f"{'':22}"
        + "".join(f"{recipe:>15}" for recipe in recipes)
        + "".join(f"{'gap of ' + recipe:>17}" for recipe in shares)
    )
    for row in rows:
        print(
            f"{row.model:<16}{row.sparsity:>6}"
            + "".join(_spread(row.accuracies[recipe]) for recipe in recipes)
            + "".join(_share(row, recipe) for recipe in shares)
        )
    figures: dict[str, dict[str, Any]] = {}
    for row in rows:
        means = {recipe: round(row.mean(recipe), 5) for recipe in recipes}
        figures.setdefault(row.model, {})[str(row.sparsity)] = means
    print(json.dumps(figures))


def _spread(accuracies: Sequence[float]) -> str:
    mean = statistics.fmean(accuracies)
    deviation = max(abs(accuracy - mean) for accuracy in accuracies)
    return f"{100 * mean:9.2f} ±{100 * deviation:4.2f}"


def _share(row: Row, recipe: str) -> str:
    """Return how much of what TFMOT loses is lost; a dash where it loses nothing."""
    lost, lost_by_peer = (row.mean("dense") - row.mean(name) for name in (recipe, PEER))
    share = f"{lost / lost_by_peer:.2f}" if lost_by_peer > 0 else "-"
    return f"{share:>17}"


if __name__ == "__main__":
    main()
