"""The inference graph of a Keras model as a SavedModel, of which the other formats are made."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import gc
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from pruning_core.compaction import compact
from pruning_core.config import PruningConfig
from worker.data import Array
from worker.formats.opened import SIGNATURE, Port


@dataclass(frozen=True, kw_only=True)
class Source:
    """A Keras model on its way into other formats.

    It is loaded where it is needed and then let go: what converts a large one needs the memory.
    """

    load: Callable[[], keras.Model]
    inputs: tuple[Port, ...]
    has_recurrence: bool
    parameters: int  #: Weights that it has.
    config: PruningConfig  #: By which it was pruned.
    folder: Path  #: Where its graphs are kept.
    #: Single samples, one array for each input, to learn from them which numbers go through the
    #: model; ``None`` for a job without data.
    samples: tuple[Array, ...] | None
    #: Whether what pruning has emptied is taken out for inference: whole filters and units.
    is_compacted: bool = False

    @classmethod
    def of(
        cls,
        model: keras.Model,
        config: PruningConfig,
        folder: Path,
        samples: tuple[Array, ...] | None,
        *,
        load: Callable[[], keras.Model] | None = None,
    ) -> Source:
        """Return the source of ``model``, or of one of its shapes that ``load`` returns."""
        return cls(
            load=(lambda: model) if load is None else load,
            inputs=inputs_of(model),
            has_recurrence=has_recurrence(model),
            parameters=model.count_params(),
            config=config,
            folder=folder,
            samples=samples,
        )

    def for_inference(self) -> keras.Model:
        """Return the model as it is to be run."""
        return compact(self.load()) if self.is_compacted else self.load()

    def graph(self, *, batch: int | None = None) -> Path:
        """Return the folder of its graph, see ``write_graph``; written when first asked for."""
        folder = self.folder / ("any_batch" if batch is None else f"batch_of_{batch}")
        if not folder.exists():
            write_graph(self.for_inference(), folder, batch=batch)
            gc.collect()  # models and functions lead in circles
        return folder


def write_graph(model: keras.Model, folder: Path, *, batch: int | None = None) -> None:
    """Write ``model`` with one signature, whose inputs and outputs are called as in the model.

    Args:
        model: Any built model.
        folder: Where to; is made.
        batch: Samples in a batch; ``None`` for any number.
    """
    archive = keras.export.ExportArchive()
    for layer in model._flatten_layers():  # noqa: SLF001  (`layers` leaves out nested ones)
        # Tables of words are found no other way; weights would be written a second time.
        if not layer.weights:
            archive.track(layer)
    archive.add_endpoint(
        SIGNATURE,
        _by_name(model),
        input_signature=[
            tf.TensorSpec((batch, *port.shape[1:]), port.dtype, name=port.name)
            for port in inputs_of(model)
        ],
    )
    archive.write_out(str(folder), verbose=False)


def inputs_of(model: keras.Model) -> tuple[Port, ...]:
    """Return the inputs of a Keras model, in its order, by the names of their layers."""
    return tuple(_ports(model.inputs))


def outputs_of(model: keras.Model) -> tuple[Port, ...]:
    """Return the outputs of a Keras model, in its order, by the names of their layers."""
    return tuple(_ports(model.outputs))


def has_recurrence(model: keras.Model) -> bool:
    """Whether a layer of the model goes through its input step by step."""
    layers = model._flatten_layers()  # noqa: SLF001  (`layers` leaves out nested ones)
    return any(isinstance(layer, keras.layers.RNN) for layer in layers)


def _by_name(model: keras.Model) -> Any:
    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    names = [port.name for port in outputs_of(model)]

    def serve(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        packed = keras.tree.pack_sequence_as(structure, inputs)
        outputs = keras.tree.flatten(model(packed, training=False))
        return dict(zip(names, outputs, strict=True))

    return serve


def _ports(tensors: Iterable[Any]) -> Iterator[Port]:
    """Yield what the tensors are, numbered where several come from layers of one name."""
    seen: Counter[str] = Counter()
    for tensor in tensors:
        layer = tensor._keras_history.operation  # noqa: SLF001  (there is no public way)
        written = re.sub(r"\W", "_", layer.name, flags=re.ASCII)
        name = f"{written}_{seen[written]}" if seen[written] else written
        seen[written] += 1
        yield Port(name, (None, *tensor.shape[1:]), keras.backend.standardize_dtype(tensor.dtype))
