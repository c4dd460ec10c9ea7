"""Whether schedules and masks are TFMOT's, wherever the two definitions agree.

``python -m bench.parity`` asks TFMOT, in its own environment, about 10,000 random schedules, each
at some twenty steps, and about masks of 1,000 random tensors: single weights, blocks, N-of-M.
Where the definitions differ on purpose the case is counted under the reason, and how often the
answers were in fact different. Which definition applies is told from the question alone.

Everywhere else the answers must be the same: masks and update steps exactly, sparsities to
float32, in which TFMOT reckons. The last line is JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import pruning_core as pc
from bench import peer
from pruning_core.allocation import Level, masks
from pruning_core.catalogue import layout
from pruning_core.criterion import Scores, magnitude
from pruning_core.granularity import Kernel, units_of
from pruning_core.mask import count_pruned
from pruning_core.tfmot import config_from_tfmot, schedule_from_tfmot

_SCHEDULES, _MASKS = 10_000, 1_000
_FLOAT32 = 2e-6  #: How far a sparsity may be off that was reckoned in float32.
_FOREVER = 1_000_000
_Value = TypeVar("_Value")
_LAYERS = {2: "Dense", 3: "Conv1D", 4: "Conv2D"}


@dataclass(frozen=True)
class Outcome:
    """One comparison."""

    reason: str | None  #: Why the definitions differ; ``None`` where they agree.
    is_same: bool
    question: str  #: To ask it again.


@dataclass(frozen=True)
class Tensor:
    """A tensor to prune, and how."""

    weights: NDArray[np.float32]
    sparsity: float
    block_size: tuple[int, int] = (1, 1)
    pooling: str = "AVG"
    pattern: tuple[int, int] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Everything but the weights, for the peer."""
        return {
            "sparsity": self.sparsity,
            "block_size": list(self.block_size),
            "pooling": self.pooling,
            "pattern": self.pattern,
        }

    @property
    def scores(self) -> Scores:
        """What its weights are worth."""
        return magnitude(self.weights)

    @property
    def kernel(self) -> Kernel:
        """The tensor as the library sees it, its granularity translated from TFMOT's words."""
        rank = self.weights.ndim
        settings: dict[str, Any] = {
            "block_size": self.block_size,
            "block_pooling_type": self.pooling,
            "sparsity_m_by_n": self.pattern,
        }
        return Kernel(
            self.weights.shape,
            config_from_tfmot(settings).granularity,
            layout(_LAYERS.get(rank, "Dense"), "kernel", rank=rank),
        )


def main() -> None:
    """Ask, compare, print."""
    rng = np.random.default_rng(0)
    asked = [_random_schedule(rng) for _ in range(_SCHEDULES)]
    tensors = [_random_tensor(rng) for _ in range(_MASKS)]
    with tempfile.TemporaryDirectory(prefix="espalier-") as name:
        folder = Path(name)
        (folder / "schedules.json").write_text(json.dumps(asked))
        (folder / "tensors.json").write_text(json.dumps([one.settings for one in tensors]))
        peer.save_arrays(folder / "tensors.npz", [one.weights for one in tensors])
        peer.run("parity", name)
        theirs = peer.load_arrays(folder / "schedules.npz")
        their_masks = peer.load_arrays(folder / "masks.npz")
    schedules = [
        _compare_schedules(config, steps, answers)
        for (config, steps), answers in zip(asked, theirs, strict=True)
    ]
    compared = [_compare_masks(*both) for both in zip(tensors, their_masks, strict=True)]
    disagreements = _report("schedules", schedules) + _report("masks", compared)
    print(
        json.dumps(
            {
                "schedules": len(schedules),
                "masks": len(compared),
                "disagreements": disagreements,
            }
        )
    )
    sys.exit(disagreements > 0)


def _random_schedule(rng: np.random.Generator) -> tuple[dict[str, Any], list[int]]:
    begin = int(rng.integers(0, 500))
    frequency = _one_of(rng, 1, int(rng.integers(1, 50)), int(rng.integers(50, 300)))
    span = _one_of(rng, int(rng.integers(0, 2000)), frequency * int(rng.integers(0, 40)))
    settings: dict[str, Any] = {
        "begin_step": begin,
        "end_step": begin + span,
        "frequency": frequency,
    }
    low, high = sorted((_one_of(rng, 0.0, rng.random()), rng.random()))
    if rng.random() < 1 / 3:
        settings["target_sparsity"] = high
        if rng.random() < 1 / 2:
            settings["end_step"] = -1
        class_name = "ConstantSparsity"
    else:
        power = _one_of(rng, 1.0, 2.0, 3.0, rng.uniform(0.5, 6))
        settings |= {"initial_sparsity": low, "final_sparsity": high, "power": power}
        class_name = "PolynomialDecay"
    updates = begin + frequency * rng.integers(0, span // frequency + 2, size=6)
    others = rng.integers(max(begin - 20, 0), begin + span + 20, size=8)
    edges = [max(begin - 1, 0), begin, begin + 1, begin + span - 1, begin + span, begin + span + 1]
    steps = sorted({int(step) for step in [*updates, *others, *edges] if step >= 0})
    return {"class_name": class_name, "config": settings}, steps


def _compare_schedules(
    config: Mapping[str, Any], steps: list[int], theirs: NDArray[Any]
) -> Outcome:
    ours = schedule_from_tfmot(config).resolved(_FOREVER)
    updates = np.array([ours.last_update(step) == step for step in steps])
    sparsities = np.array([ours.sparsity_at(step) for step in steps])
    their_updates = theirs[0].astype(bool)
    at_both = updates & their_updates
    is_same = bool(
        (updates == their_updates).all()
        and np.allclose(sparsities[at_both], theirs[1][at_both], rtol=0, atol=_FLOAT32)
    )
    return Outcome(_schedule_reason(config), is_same, f"{config} at {steps}")


def _schedule_reason(config: Mapping[str, Any]) -> str | None:
    settings = config["config"]
    span = settings["end_step"] - settings["begin_step"]
    if settings["end_step"] == -1:
        return None
    if span == 0 and config["class_name"] == "PolynomialDecay":
        return "begin_step is end_step: NaN there, a jump to final_sparsity here"
    if span % settings["frequency"]:
        return "frequency does not divide the range: no update at end_step there"
    return None


def _random_tensor(rng: np.random.Generator) -> Tensor:
    sparsity = _one_of(rng, rng.random(), int(rng.integers(1, 20)) / 20, 0.98, 0.995)
    match _one_of(rng, "weights", "blocks", "pattern"):
        case "blocks":
            weights = _random_weights(rng, rank=2)
            height, width = (int(side) for side in rng.integers(1, 5, size=2))
            pooling = _one_of(rng, "AVG", "MAX")
            return Tensor(weights, sparsity, block_size=(height, width), pooling=pooling)
        case "pattern":
            weights = _random_weights(rng, rank=_one_of(rng, 2, 4))
            group = int(rng.integers(2, 9))
            zeros = int(rng.integers(1, group))
            return Tensor(weights, zeros / group, pattern=(zeros, group))
        case _:
            return Tensor(_random_weights(rng, rank=_one_of(rng, 1, 2, 3, 4)), sparsity)


def _random_weights(rng: np.random.Generator, *, rank: int) -> NDArray[np.float32]:
    shape = tuple(rng.integers(2, 3000 if rank == 1 else 14, size=rank).tolist())
    weights = rng.standard_normal(shape, np.float32)
    has_ties = rng.random() < 1 / 4
    return np.round(weights, 1) if has_ties else weights


def _one_of(rng: np.random.Generator, *values: _Value) -> _Value:
    return values[int(rng.integers(len(values)))]


def _compare_masks(tensor: Tensor, theirs: NDArray[np.bool_]) -> Outcome:
    level = Level(tensor.sparsity, tensor.sparsity)
    (ours,) = masks(pc.Uniform(), [tensor.kernel], [tensor.scores], level)
    is_same = ours.shape == theirs.shape and bool((ours == theirs).all())
    return Outcome(_mask_reason(tensor), is_same, f"{tensor}")


def _mask_reason(tensor: Tensor) -> str | None:
    if tensor.pattern is not None:
        return None
    if tensor.block_size != (1, 1):
        sides = list(zip(tensor.weights.shape, tensor.block_size, strict=True))
        if any(length <= block for length, block in sides):
            return "one row or column of blocks: refused there"
        if any(-length % block > 1 for length, block in sides):
            return "ragged blocks: shifted by padding there, anchored at 0 here"
    return _count_reason(np.sort(units_of(tensor.scores, tensor.kernel).scores), tensor.sparsity)


def _count_reason(ranked: NDArray[Any], sparsity: float) -> str | None:
    pruned = count_pruned(ranked.size, sparsity)
    if pruned == ranked.size:
        return "all go by the count: one is kept there"
    kept_there = np.round(np.float32(ranked.size) * (np.float32(1) - np.float32(sparsity)))
    if pruned != ranked.size - kept_there:
        return "half a unit: what is kept is rounded there, what is pruned here"
    if pruned > 0 and np.isclose(ranked[pruned - 1], ranked[pruned], rtol=1e-6, atol=0):
        return "ties at the threshold: all kept there, the exact count here"
    return None


def _report(what: str, outcomes: Iterable[Outcome]) -> int:
    """Print the table of one kind; return how many answers differ that should not."""
    asked: Counter[str | None] = Counter()
    different: Counter[str | None] = Counter()
    for outcome in outcomes:
        asked[outcome.reason] += 1
        different[outcome.reason] += not outcome.is_same
        if outcome.reason is None and not outcome.is_same:
            print(f"DISAGREEMENT: {outcome.question}")
    print(f"{what:<78}{'asked':>8}{'differ':>8}")
    print(f"  {'one definition':<76}{asked.pop(None, 0):>8,}{different[None]:>8,}")
    for reason, count in asked.most_common():
        print(f"  {reason:<76}{count:>8,}{different[reason]:>8,}")
    return different[None]


if __name__ == "__main__":
    main()
