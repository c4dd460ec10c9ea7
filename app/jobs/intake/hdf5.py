"""HDF5 files from strangers: walked once, link by link, into plain values.

HDF5 can link to other files, store outside itself, run plugins and declare terabytes that it
does not hold. Keras uses none of that: hard links, plain numbers, at most gzip.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, cast

import h5py
import numpy as np

from app.jobs.errors import RefusedFileError

MAGIC = b"\x89HDF\r\n\x1a\n"

#: Attributes in which Keras keeps what it needs; a list too long for one goes on in `name0` ….
_ATTRIBUTES = (
    "name",
    "keras_version",
    "model_config",
    "training_config",
    "layer_names",
    "weight_names",
)
#: Of an HDF5 file without any content.
_SMALLEST_BYTES = 800
_MAX_OBJECTS = 200_000
_MAX_DEPTH = 64
_MAX_RANK = 16
_MAX_ITEM_BYTES = 8
_MAX_TEXTS = 100_000
_MAX_TEXT_BYTES = 32 * 2**20
#: Up to this size a tensor may be packed as tightly as it likes.
_FREE_BYTES = 64 * 2**20
_MAX_EXPANSION = 200
_BLOCK_ITEMS = 2**22
#: gzip, shuffle, fletcher32, lzf.
_FILTERS = frozenset({1, 2, 3, 32000})

#: What h5py raises over a file that breaks its own format.
_BROKEN = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError)

Texts: TypeAlias = "str | tuple[str, ...]"


@dataclass(frozen=True)
class Tensor:
    """A stored array of numbers."""

    shape: tuple[int, ...]
    dtype: str
    bytes: int  #: Once unpacked.


@dataclass(frozen=True)
class Contents:
    """What an HDF5 file holds, by path from its root, without a leading slash."""

    tensors: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    #: Text attributes of groups; the root is ``""``.
    attributes: dict[str, dict[str, Texts]] = field(default_factory=dict[str, dict[str, Texts]])

    def text(self, group: str, name: str) -> str | None:
        """A text attribute of a group; ``None`` where there is none."""
        value = self.attributes.get(group, {}).get(name)
        return value if isinstance(value, str) else None

    def texts(self, group: str, name: str) -> tuple[str, ...]:
        """A list of texts, put together again where Keras had to divide it."""
        attributes = self.attributes.get(group, {})
        whole = attributes.get(name)
        if isinstance(whole, tuple):
            return whole
        parts: list[str] = []
        while isinstance(part := attributes.get(f"{name}{len(parts)}"), tuple):
            parts.extend(part)
        return tuple(parts)


def read_contents(path: Path, *, must_be_finite: Callable[[str], bool]) -> Contents:
    """Walk the HDF5 file at ``path``.

    Args:
        path: A file that begins with ``MAGIC``.
        must_be_finite: Whether the values of the tensor at this path are read and NaN and
            infinity refused.

    Raises:
        RefusedFileError: ``truncated``, ``damaged``, ``unsafe_storage``, ``too_large`` or
            ``not_finite``.
    """
    if path.stat().st_size < _SMALLEST_BYTES:
        raise _truncated()
    try:
        with h5py.File(path, "r") as file:
            return _Walk(must_be_finite).over(file)
    except _BROKEN as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> RefusedFileError:
    if "truncated file" in str(error):
        return _truncated()
    return RefusedFileError(
        "damaged",
        "The HDF5 file contradicts its own format.",
        hint="The file was changed or cut on its way: save it again and upload it again.",
    )


def _truncated() -> RefusedFileError:
    return RefusedFileError(
        "truncated",
        "The HDF5 file ends before its content does.",
        hint="The upload or the file was cut short: upload it again.",
    )


def _unsafe(path: str, fault: str) -> RefusedFileError:
    return RefusedFileError(
        "unsafe_storage",
        f"{path or 'The HDF5 root'} {fault}, as nothing that Keras saves does.",
        hint="Save the model again from Keras and upload that file.",
    )


def _too_large(path: str, fault: str) -> RefusedFileError:
    return RefusedFileError(
        "too_large",
        f"{path or 'The HDF5 root'} {fault}.",
        hint="Save the model again from Keras and upload that file.",
    )


class _Walk:
    """One pass over a file; every object is met at most once."""

    def __init__(self, must_be_finite: Callable[[str], bool]) -> None:
        self._must_be_finite = must_be_finite
        self._seen: set[int] = set()
        self._contents = Contents()

    def over(self, file: h5py.File) -> Contents:
        self._enter(file, "", depth=0)
        return self._contents

    def _enter(self, group: h5py.Group, path: str, *, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise _too_large(path, f"is nested deeper than {_MAX_DEPTH} groups")
        self._meet(group, path)
        self._contents.attributes[path] = _text_attributes(group, path)
        for name in group:
            child_path = f"{path}/{name}" if path else name
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise _unsafe(child_path, "is a link to another place")
            child = group[name]
            if isinstance(child, h5py.Group):
                self._enter(child, child_path, depth=depth + 1)
            elif isinstance(child, h5py.Dataset):
                self._take(child, child_path)
            else:
                raise _unsafe(child_path, "is neither a group nor an array")

    def _meet(self, thing: h5py.Group | h5py.Dataset, path: str) -> None:
        address = cast("int", h5py.h5o.get_info(thing.id).addr)
        if address in self._seen:
            raise _unsafe(path, "appears in two places")
        self._seen.add(address)
        if len(self._seen) > _MAX_OBJECTS:
            raise _too_large(path, f"is one of more than {_MAX_OBJECTS} objects")

    def _take(self, dataset: h5py.Dataset, path: str) -> None:
        self._meet(dataset, path)
        _require_plain_storage(dataset, path)
        tensor = _described(dataset, path)
        if tensor.dtype.startswith("float") and self._must_be_finite(path):
            _require_finite(dataset, path)
        self._contents.tensors[path] = tensor


def _text_attributes(group: h5py.Group, path: str) -> dict[str, Texts]:
    wanted = [name for name in group.attrs if name.rstrip("0123456789") in _ATTRIBUTES]
    return {name: _text_attribute(group, path, name) for name in wanted}


def _text_attribute(group: h5py.Group, path: str, name: str) -> Texts:
    stored = group.attrs.get_id(name)
    count = math.prod(cast("tuple[int, ...]", stored.shape))
    if count > _MAX_TEXTS or count * stored.dtype.itemsize > _MAX_TEXT_BYTES:
        raise _too_large(path, f"has an attribute {name} beyond any use")
    value = cast("object", group.attrs[name])
    if isinstance(value, np.ndarray):
        items = cast("list[object]", value.ravel().tolist())
        return tuple(_decoded(item) for item in items)
    return _decoded(value)


def _decoded(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return str(value)


def _require_plain_storage(dataset: h5py.Dataset, path: str) -> None:
    properties = dataset.id.get_create_plist()
    if dataset.is_virtual or properties.get_external_count():
        raise _unsafe(path, "keeps its values outside the file")
    filters = {properties.get_filter(index)[0] for index in range(properties.get_nfilters())}
    if filters - _FILTERS:
        raise _unsafe(path, "is packed by a filter other than gzip or lzf")


def _described(dataset: h5py.Dataset, path: str) -> Tensor:
    dtype = dataset.dtype
    if (
        dtype.kind not in "fiubV"
        or dtype.itemsize > _MAX_ITEM_BYTES
        or dtype.hasobject
        or dtype.fields
    ):
        raise _unsafe(path, f"holds {dtype} values")
    shape = cast("tuple[int, ...] | None", dataset.shape)
    if shape is None or len(shape) > _MAX_RANK:
        raise _unsafe(path, "has no ordinary shape")
    size = math.prod(shape) * dtype.itemsize
    chunk = math.prod(cast("tuple[int, ...] | None", dataset.chunks) or ()) * dtype.itemsize
    stored = dataset.id.get_storage_size()
    if max(size, chunk) > _FREE_BYTES + _MAX_EXPANSION * stored:
        raise _too_large(path, f"declares {max(size, chunk)} bytes where {stored} are stored")
    return Tensor(shape, _dtype_name(dtype), size)


def _dtype_name(dtype: np.dtype[np.generic]) -> str:
    # Keras stores bfloat16, which NumPy lacks, as two opaque bytes.
    return "bfloat16" if dtype.kind == "V" else dtype.name


def _require_finite(dataset: h5py.Dataset, path: str) -> None:
    for block in _blocks(cast("tuple[int, ...]", dataset.shape)):
        if not np.isfinite(np.asarray(dataset[block])).all():
            raise RefusedFileError(
                "not_finite",
                f"The weights in {path} hold NaN or infinite values.",
                hint="The training diverged: restore an earlier checkpoint and upload that.",
            )


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[int | slice, ...]]:
    """Selections that cover ``shape`` in C order, each of at most ``_BLOCK_ITEMS`` items."""
    if math.prod(shape) <= _BLOCK_ITEMS:
        yield ()
        return
    row = math.prod(shape[1:])
    if row > _BLOCK_ITEMS:
        for index in range(shape[0]):
            yield from ((index, *inner) for inner in _blocks(shape[1:]))
        return
    step = max(1, _BLOCK_ITEMS // max(row, 1))
    yield from ((slice(start, start + step),) for start in range(0, shape[0], step))
