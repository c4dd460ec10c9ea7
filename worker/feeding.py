"""How samples reach a model: in batches, made as they are asked for."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from app.jobs.spec import Preprocessing
from worker.data import Array, BatchOrder, InputForm, Samples
from worker.errors import RefusedError


class Batches(keras.utils.PyDataset):
    """Batches of samples, one pass over them or several one after the other; from ``start`` on."""

    def __init__(
        self, feeder: Feeder, samples: Samples, order: BatchOrder, *, epochs: int, start: int = 0
    ) -> None:
        super().__init__()
        self._feeder = feeder
        self._samples = samples
        self._order = order
        self._start = start
        self._end = order.steps_per_epoch * epochs

    def __len__(self) -> int:
        return self._end - self._start

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        places = self._order.at(self._start + index)
        stored = tuple(array[places] for array in self._samples.inputs)
        inputs = as_fed(self._feeder.accept(stored))
        labels = self._samples.labels
        return (inputs,) if labels is None else (inputs, labels[places])


@dataclass(frozen=True)
class Feeder:
    """Turns stored samples into what one model takes."""

    structure: Any  #: The names of the model's inputs, nested as it wants them.
    forms: tuple[InputForm, ...]
    preprocessing: Preprocessing
    batch_size: int

    @classmethod
    def of(cls, model: keras.Model, preprocessing: Preprocessing, *, batch_size: int) -> Feeder:
        """Return the feeder of ``model``.

        Raises:
            RefusedError: preprocessing is asked for an input that takes whole numbers.
        """
        forms = tuple(
            InputForm(name, tuple(tensor.shape[1:]), _dtype_of(tensor))
            for name, tensor in zip(input_names(model), model.inputs, strict=True)
        )
        declared = preprocessing.rescale is not None or preprocessing.offset != 0
        whole = [form.name for form in forms if "int" in form.dtype or form.dtype == "S"]
        if declared and whole:
            raise RefusedError(
                "preprocessing_of_integers",
                f"The model's input {whole[0]!r} takes whole numbers or texts, which preprocessing "
                "would spoil.",
                hint="Leave out rescale and offset.",
            )
        structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
        # Names for the tensors, which lead to all of the model, and would keep it in memory.
        names = keras.tree.map_structure(_name_of, structure)
        # Like Keras' own adapters: TensorFlow's pipelines know no lists.
        return cls(keras.tree.lists_to_tuples(names), forms, preprocessing, batch_size)

    def accept(self, stored: tuple[Array, ...]) -> Any:
        """Return a batch of inputs as the model takes it."""
        batch = [
            form.accept(array, self.preprocessing)
            for form, array in zip(self.forms, stored, strict=True)
        ]
        return keras.tree.pack_sequence_as(self.structure, batch)

    def in_order(self, samples: Samples) -> Batches:
        """Return one pass over the samples in the order of the file."""
        return Batches(self, samples, BatchOrder(len(samples), self.batch_size), epochs=1)

    def shuffled(self, samples: Samples, *, seed: int, epochs: int, start: int = 0) -> Batches:
        """Return ``epochs`` passes, each in an order of its own that only the seed decides.

        Args:
            samples: All of them, whatever ``start`` is.
            seed: Of the orders.
            epochs: How many passes.
            start: Of the batches of all passes the first to return.
        """
        order = BatchOrder(len(samples), self.batch_size, seed)
        return Batches(self, samples, order, epochs=epochs, start=start)


def as_fed(batch: Any) -> Any:
    """Return a batch in the form in which Keras takes it: texts as tensors."""

    def fed(array: Any) -> Any:
        is_text = array.dtype.kind == "S"
        return keras.ops.convert_to_tensor(array, "string") if is_text else array

    return keras.tree.map_structure(fed, batch)


def _name_of(tensor: Any) -> str:
    return tensor.name


def _dtype_of(tensor: Any) -> str:
    """Return the dtype as NumPy calls it, which stores text as bytes."""
    return "S" if tensor.dtype == "string" else tensor.dtype


def input_names(model: keras.Model) -> tuple[str, ...]:
    """Return the names of the model's inputs, in its order."""
    return tuple(tensor.name for tensor in model.inputs)
