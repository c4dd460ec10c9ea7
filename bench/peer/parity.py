"""TFMOT's side of ``bench.parity``: what its schedules and masks say.

``python -m bench.peer.parity FOLDER`` reads ``schedules.json``, a list of ``[config, steps]``, and
writes ``schedules.npz``: of each, a row of whether it prunes and a row of sparsities, by step. It
reads ``tensors.json``, a list of ``{"sparsity", "block_size", "pooling", "pattern"}``, and
``tensors.npz``, and writes the masks to ``masks.npz``; an empty array stands for a refusal.
"""

# The packages are installed in the peer's environment alone.
# pyright: reportMissingModuleSource=false

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
from numpy.typing import NDArray

from bench.peer import answer, load_arrays, save_arrays

#: What chooses a mask; not among its public names.
_pruning_impl: Any = importlib.import_module(
    "tensorflow_model_optimization.python.core.sparsity.keras.pruning_impl"
)


def main() -> None:
    """Answer all at once."""
    folder = Path(sys.argv[1])
    asked = json.loads((folder / "schedules.json").read_text())
    save_arrays(folder / "schedules.npz", [_schedule(*one) for one in asked])
    settings = json.loads((folder / "tensors.json").read_text())
    tensors = load_arrays(folder / "tensors.npz")
    masks = [_mask(*one) for one in zip(tensors, settings, strict=True)]
    save_arrays(folder / "masks.npz", masks)
    answer("done")


def _schedule(config: Mapping[str, Any], steps: Sequence[int]) -> NDArray[Any]:
    schedule = getattr(tfmot.sparsity.keras, config["class_name"])(**config["config"])
    prunes, sparsity = schedule(tf.constant(steps))
    return np.stack([prunes.numpy(), np.broadcast_to(sparsity.numpy(), len(steps))])


def _mask(weights: NDArray[Any], settings: Mapping[str, Any]) -> NDArray[np.bool_]:
    masks = _pruning_impl.Pruning(
        training_step_fn=lambda: 0,
        pruning_vars=[],
        pruning_schedule=tfmot.sparsity.keras.ConstantSparsity(settings["sparsity"], begin_step=0),
        block_size=settings["block_size"],
        block_pooling_type=settings["pooling"],
        sparsity_m_by_n=settings["pattern"],
    )
    try:
        _, mask = masks._maybe_update_block_mask(tf.constant(weights))  # noqa: SLF001
    except ValueError:
        return np.empty(0, dtype=np.bool_)
    return mask.numpy().astype(np.bool_)


if __name__ == "__main__":
    main()
