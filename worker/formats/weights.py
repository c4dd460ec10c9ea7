"""The ``weights`` formats: masks and non-zeros alone; the model is in the ``.keras`` beside."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import keras

from app.jobs.formats import FILE_NAMES
from pruning_core.catalogue import layout, reason_to_skip
from pruning_core.config import PruningConfig, Unstructured
from pruning_core.decision import Prune
from pruning_core.granularity import Kernel
from pruning_core.selection import Selected, select
from worker.formats.by_keras import RunByKeras, counted
from worker.formats.graph import Source
from worker.formats.opened import WeightCount
from worker.formats.weights_reader import read_weights
from worker.formats.weights_writer import Weight, pack_in_parts


def write(source: Source, path: Path, *, precision: Literal["float32", "int8"]) -> tuple[str, ...]:
    """Write the weights of ``source``, see ``pack_in_parts``."""
    with path.open("wb") as file:
        weights = weights_of(source.load(), source.config)
        file.writelines(pack_in_parts(weights, precision=precision))
    return ()


def weights_of(model: keras.Model, config: PruningConfig) -> Iterator[Weight]:
    """Yield the weights of a model, in the order of ``model.weights``.

    Args:
        model: Any built model, stripped.
        config: By which it was pruned; its granularities say in which units zeros come.
    """
    selected = {id(entry.variable): entry for entry in select(model, config)}
    return (_weight(selected[id(variable)]) for variable in model.weights)


def _weight(entry: Selected) -> Weight:
    return Weight(entry.name, keras.ops.convert_to_numpy(entry.variable), _kernel(entry))


def _kernel(entry: Selected) -> Kernel | None:
    if isinstance(entry.decision, Prune):
        return Kernel(entry.shape, entry.decision.granularity, entry.decision.layout)
    if reason_to_skip(entry.class_name, entry.weight, with_depthwise=True) is not None:
        return None
    lies = layout(entry.class_name, entry.weight, rank=len(entry.shape))
    return Kernel(entry.shape, Unstructured(), lies)


class WeightsFile(RunByKeras):
    """A file of weights, given to the model in ``model.keras`` beside it.

    Raises:
        CorruptWeightsError: it is not well formed.
        ValueError: its weights are not those of the model.
    """

    def __init__(self, path: Path) -> None:
        values = [values for _, values in read_weights(path)]
        self._weights = counted(values)
        model: keras.Model = keras.saving.load_model(path.with_name(FILE_NAMES["keras"]))
        model.set_weights(values)
        super().__init__(model)

    def weights(self) -> WeightCount:
        """Return what was counted in the file."""
        return self._weights
