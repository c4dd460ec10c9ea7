"""Magnitude pruning for Keras 3.

The settings are plain values; what needs Keras is imported when it is first asked for, so that
a process that only handles settings never pays for Keras.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pruning_core.config import (
    Block,
    Channel,
    ErdosRenyiKernel,
    Global,
    LayerAdaptive,
    LayerRule,
    NOfM,
    PruningConfig,
    Uniform,
    Unstructured,
)
from pruning_core.errors import (
    NonFiniteWeightsError,
    PruningConfigError,
    PruningError,
    UnsupportedModelError,
)
from pruning_core.recipe import Distillation
from pruning_core.schedule import Constant, Iterative, OneShot, PolynomialDecay
from pruning_core.tfmot import config_from_tfmot, schedule_from_tfmot

if TYPE_CHECKING:
    from pruning_core.compaction import compact
    from pruning_core.export import save
    from pruning_core.optimizer import PruningOptimizer
    from pruning_core.reporting import SparsityReport, TensorSparsity, report
    from pruning_core.training import Pruned, Pruning, prune

__all__ = [
    "Block",
    "Channel",
    "Constant",
    "Distillation",
    "ErdosRenyiKernel",
    "Global",
    "Iterative",
    "LayerAdaptive",
    "LayerRule",
    "NOfM",
    "NonFiniteWeightsError",
    "OneShot",
    "PolynomialDecay",
    "Pruned",
    "Pruning",
    "PruningConfig",
    "PruningConfigError",
    "PruningError",
    "PruningOptimizer",
    "SparsityReport",
    "TensorSparsity",
    "Uniform",
    "Unstructured",
    "UnsupportedModelError",
    "compact",
    "config_from_tfmot",
    "prune",
    "report",
    "save",
    "schedule_from_tfmot",
]

_FACING_KERAS = {
    "Pruned": "training",
    "Pruning": "training",
    "PruningOptimizer": "optimizer",
    "SparsityReport": "reporting",
    "TensorSparsity": "reporting",
    "compact": "compaction",
    "prune": "training",
    "report": "reporting",
    "save": "export",
}


def __getattr__(name: str) -> Any:
    """Import what needs Keras, the first time it is asked for."""
    if name not in _FACING_KERAS:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(import_module(f"{__name__}.{_FACING_KERAS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Name what can be imported, imported yet or not."""
    return sorted({*globals(), *__all__})
