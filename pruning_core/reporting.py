"""The sparsity report: zeros counted tensor by tensor, on any Keras model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import keras
import numpy as np

from pruning_core.config import PruningConfig
from pruning_core.selection import Selected, Skip, select


@dataclass(frozen=True)
class TensorSparsity:
    """One weight tensor, its zeros counted."""

    layer: str  #: Path of the layer, for example ``encoder/dense``.
    class_name: str
    weight: str  #: Name in its layer, for example ``kernel``.
    shape: tuple[int, ...]
    zeros: int
    reason: str | None  #: Why the configuration leaves it alone; ``None`` when it prunes it.

    @property
    def size(self) -> int:
        """How many weights it has."""
        return math.prod(self.shape)

    @property
    def sparsity(self) -> float:
        """Fraction of its weights that are zero, in [0, 1]; 0 for an empty tensor."""
        return self.zeros / self.size if self.size else 0.0

    @property
    def pruned(self) -> bool:
        """Whether the configuration prunes it."""
        return self.reason is None


@dataclass(frozen=True)
class SparsityReport:
    """What is zero in a model, what was pruned, and why the rest was not.

    ``print`` shows it as a table.
    """

    tensors: tuple[TensorSparsity, ...]  #: Every weight tensor once, in the model's order.

    @property
    def parameters(self) -> int:
        """Weights in all tensors."""
        return sum(tensor.size for tensor in self.tensors)

    @property
    def prunable(self) -> int:
        """Weights in the tensors that the configuration prunes."""
        return sum(tensor.size for tensor in self.tensors if tensor.pruned)

    @property
    def nonzero(self) -> int:
        """Weights in all tensors that are not zero."""
        return sum(tensor.size - tensor.zeros for tensor in self.tensors)

    @property
    def sparsity(self) -> float:
        """Fraction of zeros in the tensors that the configuration prunes; 0 without any."""
        zeros = sum(tensor.zeros for tensor in self.tensors if tensor.pruned)
        return zeros / self.prunable if self.prunable else 0.0

    def __str__(self) -> str:
        """Return an aligned table, a line for each tensor and one for the totals."""
        header = ("weight", "shape", "zeros", "of", "sparsity", "not pruned because")
        rows = [header, *map(_row, self.tensors), self._totals()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(_aligned(row, widths) for row in rows)

    def _totals(self) -> tuple[str, ...]:
        zeros = self.parameters - self.nonzero
        summary = f"{self.sparsity:.2%} of the {self.prunable:,} in pruned tensors"
        share = f"{zeros / self.parameters:.2%}" if self.parameters else "-"
        return ("total", "", f"{zeros:,}", f"{self.parameters:,}", share, summary)


def report(model: keras.Model, config: PruningConfig | None = None) -> SparsityReport:
    """Count the zeros in ``model``.

    Args:
        model: Any built Keras model, pruned here or elsewhere or not at all.
        config: Says which tensors count as pruned; ``None`` for what is pruned by default.

    Raises:
        UnsupportedModelError: the model is not built.
    """
    selection = select(model, PruningConfig() if config is None else config)
    return SparsityReport(tuple(map(_counted, selection)))


def _counted(entry: Selected) -> TensorSparsity:
    return TensorSparsity(
        layer=entry.layer,
        class_name=entry.class_name,
        weight=entry.weight,
        shape=entry.shape,
        zeros=count_zeros(entry.variable),
        reason=entry.decision.reason if isinstance(entry.decision, Skip) else None,
    )


def count_zeros(variable: keras.Variable) -> int:
    """How many entries of ``variable`` are zero; -0.0 is."""
    values = keras.ops.convert_to_numpy(variable)
    return values.size - int(np.count_nonzero(values))


def _row(tensor: TensorSparsity) -> tuple[str, ...]:
    return (
        f"{tensor.layer}/{tensor.weight}",
        " x ".join(map(str, tensor.shape)) or "scalar",
        f"{tensor.zeros:,}",
        f"{tensor.size:,}",
        f"{tensor.sparsity:.2%}",
        tensor.reason or "",
    )


def _aligned(row: Iterable[str], widths: list[int]) -> str:
    name, shape, zeros, size, sparsity, reason = (
        (cell, width) for cell, width in zip(row, widths, strict=True)
    )
    left = [cell.ljust(width) for cell, width in (name, shape)]
    right = [cell.rjust(width) for cell, width in (zeros, size, sparsity)]
    return "  ".join([*left, *right, reason[0]]).rstrip()
