"""Which stored tensor is which weight of which layer, in both of Keras' layouts.

``model.weights.h5`` (Keras 3): one group a layer, named after its class; its own weights are
``vars/0``, ``vars/1`` … in the order in which the layer made them.

HDF5 models (Keras 2, and Keras 3 on demand): ``model_weights/<layer>`` for each outermost layer,
everything inside it in one list, ``weight_names``: trainable before frozen, names as they were.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.jobs.errors import RefusedFileError
from app.jobs.intake.hdf5 import Contents, Tensor
from app.jobs.intake.json_text import Json
from app.jobs.intake.layers import Layer

#: Which axes of which weight a setting of the layer declares, and with which factor.
_DECLARED: dict[str, tuple[tuple[str, int, str, int], ...]] = {
    "Dense": (("kernel", -1, "units", 1),),
    "Embedding": (("embeddings", 0, "input_dim", 1), ("embeddings", 1, "output_dim", 1)),
    "Conv1D": (("kernel", -1, "filters", 1),),
    "Conv2D": (("kernel", -1, "filters", 1),),
    "Conv3D": (("kernel", -1, "filters", 1),),
    "Conv1DTranspose": (("kernel", -2, "filters", 1),),
    "Conv2DTranspose": (("kernel", -2, "filters", 1),),
    "Conv3DTranspose": (("kernel", -2, "filters", 1),),
    "SeparableConv1D": (("pointwise_kernel", -1, "filters", 1),),
    "SeparableConv2D": (("pointwise_kernel", -1, "filters", 1),),
    "SimpleRNN": (("kernel", -1, "units", 1),),
    "SimpleRNNCell": (("kernel", -1, "units", 1),),
    "GRU": (("kernel", -1, "units", 3),),
    "GRUCell": (("kernel", -1, "units", 3),),
    "LSTM": (("kernel", -1, "units", 4),),
    "LSTMCell": (("kernel", -1, "units", 4),),
    "ConvLSTM1D": (("kernel", -1, "filters", 4),),
    "ConvLSTM2D": (("kernel", -1, "filters", 4),),
    "ConvLSTM3D": (("kernel", -1, "filters", 4),),
}

#: As ``EinsumDense`` takes them.
_EQUATION = re.compile(r"[a-zA-Z.]+,(?P<kernel>[a-zA-Z]+)->[a-zA-Z.]+")


@dataclass(frozen=True)
class StoredWeight:
    """One weight of one layer, and the tensor that the file has for it."""

    layer: Layer
    name: str
    tensor: Tensor
    path: str  #: Of the tensor in its HDF5 file.


def weights_in_store(root: Layer, contents: Contents) -> tuple[StoredWeight, ...]:
    """Read the layout of ``model.weights.h5``.

    Raises:
        RefusedFileError: ``weights_mismatch``.
    """
    claimed: set[str] = set()
    found: list[StoredWeight] = []
    for layer in root.walk():
        paths = _paths_of_vars(layer.store, contents)
        claimed.update(paths)
        if len(paths) != len(layer.weights):
            raise _wrong_count(layer, len(layer.weights), len(paths))
        found += [
            StoredWeight(layer, name, contents.tensors[path], path)
            for name, path in zip(layer.weights, paths, strict=True)
            if name
        ]
    _require_claimed(
        path for path in contents.tensors if path not in claimed and not is_training_state(path)
    )
    return _held_against_declared(found)


def weights_in_order(root: Layer, contents: Contents) -> tuple[StoredWeight, ...]:
    """Read the layout of an HDF5 model.

    Raises:
        RefusedFileError: ``weights_mismatch``.
    """
    claimed: set[str] = set()
    found: list[StoredWeight] = []
    for outermost in root.children:
        group = f"model_weights/{outermost.path}"
        names = contents.texts(group, "weight_names")
        slots = [
            _Slot(layer, name)
            for layer in (outermost, *outermost.walk())
            for name in layer.weights
            if name
        ]
        if len(names) != len(slots):
            raise _wrong_count(outermost, len(slots), len(names))
        for name, slot in zip(names, _slots_for(names, slots), strict=True):
            path = f"{group}/{name}"
            if path not in contents.tensors:
                raise _mismatch(fault=f"{path} is announced, but absent")
            claimed.add(path)
            found.append(StoredWeight(slot.layer, slot.name, contents.tensors[path], path))
    _require_claimed(
        path
        for path in contents.tensors
        if path.startswith("model_weights/") and path not in claimed
    )
    return _held_against_declared(_in_order_of(root, found))


@dataclass(frozen=True, eq=False)
class _Slot:
    """A weight that waits for its tensor."""

    layer: Layer
    name: str

    def likeness(self, stored: str) -> int:
        """How many names, from the last backwards, this weight shares with a stored one."""
        wanted = [*self.layer.path.split("/"), self.name]
        given = stored.removesuffix(":0").split("/")
        alike = 0
        while alike < min(len(wanted), len(given)) and wanted[-1 - alike] == given[-1 - alike]:
            alike += 1
        return alike


def _slots_for(names: Sequence[str], slots: Sequence[_Slot]) -> list[_Slot]:
    """Give each stored weight the slot whose name is most like it; the first, of equals."""
    free = list(slots)
    chosen: list[_Slot] = []
    for name in names:
        best = max(free, key=lambda slot: slot.likeness(name))
        free.remove(best)
        chosen.append(best)
    return chosen


def _paths_of_vars(store: str, contents: Contents) -> list[str]:
    parent, _, last = store.rpartition("/")
    for group in (store, f"{parent}/_{last}"):
        paths: list[str] = []
        while (path := f"{group}/vars/{len(paths)}") in contents.tensors:
            paths.append(path)
        if paths:
            return paths
    return []


def is_training_state(path: str) -> bool:
    """Whether a tensor of ``model.weights.h5`` is there for training only."""
    return path.startswith(("optimizer/", "metrics/"))


def _in_order_of(root: Layer, found: list[StoredWeight]) -> list[StoredWeight]:
    places = {
        (layer.path, name): place
        for place, (layer, name) in enumerate(
            (layer, name) for layer in root.walk() for name in layer.weights
        )
    }
    return sorted(found, key=lambda weight: places[weight.layer.path, weight.name])


def _held_against_declared(found: list[StoredWeight]) -> tuple[StoredWeight, ...]:
    for weight in found:
        for name, axis, setting, factor in _DECLARED.get(weight.layer.class_name, ()):
            if name == weight.name:
                _require_size(weight, axis, setting, factor)
        if weight.layer.class_name == "EinsumDense" and weight.name == "kernel":
            _require_axes(weight)
    return tuple(found)


def _require_axes(weight: StoredWeight) -> None:
    equation, shape = weight.layer.config.get("equation"), weight.tensor.shape
    match = _EQUATION.fullmatch(equation) if isinstance(equation, str) else None
    if match is None or len(match["kernel"]) != len(shape):
        raise _mismatch(
            fault=f"layer '{weight.layer.path}' declares equation {equation!r}, but its kernel is "
            f"stored with shape {list(shape)}"
        )


def _require_size(weight: StoredWeight, axis: int, setting: str, factor: int) -> None:
    declared: Json = weight.layer.config.get(setting)
    shape = weight.tensor.shape
    rank = -axis if axis < 0 else axis + 1
    size = shape[axis] if len(shape) >= rank else None
    if isinstance(declared, int) and size == factor * declared:
        return
    raise _mismatch(
        fault=f"layer '{weight.layer.path}' declares {setting} {declared}, but its {weight.name} "
        f"is stored with shape {list(shape)}"
    )


def _require_claimed(unclaimed: Iterator[str]) -> None:
    stranger = next(unclaimed, None)
    if stranger is not None:
        raise _mismatch(fault=f"{stranger} belongs to no layer of the architecture")


def _wrong_count(layer: Layer, declared: int, stored: int) -> RefusedFileError:
    return _mismatch(
        fault=f"layer '{layer.path}' ({layer.class_name}) has {declared} weights, but {stored} "
        "are stored"
    )


def _mismatch(*, fault: str) -> RefusedFileError:
    return RefusedFileError(
        "weights_mismatch",
        f"The stored weights do not fit the architecture: {fault}.",
        hint="Load the model in Keras 3, save it with model.save('model.keras') and upload that "
        "file.",
    )
