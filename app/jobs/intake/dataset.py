"""What is in an uploaded dataset: an ``.npz`` of plain numbers, or one of the other kinds."""

from __future__ import annotations

import math
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, Literal, TypeAlias

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from app.jobs.errors import RefusedFileError
from app.jobs.intake import archive
from app.jobs.intake.archive import Archive, open_archive
from app.jobs.intake.folders import kind_of, summarise_images, summarise_texts
from app.jobs.intake.records import begins_records, summarise_records
from app.jobs.intake.table import summarise_table
from app.jobs.uploads import DatasetSummary, TensorSpec

Numbers: TypeAlias = NDArray[Any]

_KNOWN = re.compile(r"(?P<axis>[xy])(?:_(?P<part>train|val|test))?(?:/(?P<input>.+))?")
_HEAD_BYTES = 4096
_GZIP = b"\x1f\x8b"
_FIRST_PRINTABLE, _TAB = 0x20, 0x09
_BLOCK_BYTES = 2**22
_MAX_RANK = 16
_MAX_ITEM_BYTES = 8
_HINT = (
    "Write the file with numpy.savez_compressed(path, x_train=…, y_train=…), arrays of plain "
    "numbers, and upload it again."
)


def summarise_dataset(path: Path) -> DatasetSummary:
    """Check the dataset file at ``path`` and say what is in it; its name does not matter.

    Raises:
        RefusedFileError: it cannot be taken; ``code`` is one of the package's table.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(archive.MAGIC):
        return _SUMMARISERS[_kind_of_zip(path)](path)
    if begins_records(head):
        return summarise_records(path)
    if not head or archive.MAGIC.startswith(head) or not _is_text(head):
        raise _no_dataset(head)
    return summarise_table(path)


def _kind_of_zip(path: Path) -> Literal["npz", "images", "text"]:
    try:
        with zipfile.ZipFile(path) as unchecked:
            return kind_of(unchecked.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "npz"


def _is_text(head: bytes) -> bool:
    """Whether the first row of a file could be one of a table."""
    first = head.splitlines()[0].removeprefix(b"\xef\xbb\xbf")
    return all(byte >= _FIRST_PRINTABLE or byte == _TAB for byte in first)


def _summarise_npz(path: Path) -> DatasetSummary:
    with open_archive(path) as members:
        names = {name.removesuffix(".npy"): name for name in members.names}
        known = [name for name in names if _is_known(name)]
        if not known:
            raise _missing("x_train", "the file has no array of a name that is known")
        arrays = [_read(members, name, names[name]) for name in known]
    return _summary(arrays, ignored=tuple(name for name in names if name not in known))


_SUMMARISERS: dict[Literal["npz", "images", "text"], Callable[[Path], DatasetSummary]] = {
    "npz": _summarise_npz,
    "images": summarise_images,
    "text": summarise_texts,
}


def _no_dataset(head: bytes) -> RefusedFileError:
    if not head:
        return RefusedFileError("empty_file", "The dataset file is empty.", hint=_HINT)
    if archive.MAGIC.startswith(head):
        return RefusedFileError(
            "truncated",
            f"The dataset file ends after {len(head)} bytes.",
            hint="The upload or the file was cut short: upload it again.",
        )
    if head.startswith(_GZIP):
        return RefusedFileError(
            "not_a_dataset",
            "The file is compressed as a whole.",
            hint="Unpack it with gunzip and upload what comes out.",
        )
    return RefusedFileError(
        "not_a_dataset",
        "The file is no .npz, .csv, .tfrecord, and no .zip with a folder for each class.",
        hint=_HINT,
    )


@dataclass(frozen=True)
class _Array:
    """What one array of the file turned out to hold."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    lowest: float
    highest: float
    whole: bool  #: Every value is a whole number.

    @property
    def is_label(self) -> bool:
        return self.name.startswith("y")

    @property
    def part(self) -> str:
        return _place(self.name)[0]

    @property
    def input_name(self) -> str:
        return _place(self.name)[1]

    @property
    def samples(self) -> int:
        return self.shape[0]


def _is_known(name: str) -> bool:
    match = _KNOWN.fullmatch(name)
    return match is not None and not (match["axis"] == "y" and match["input"])


def _place(name: str) -> tuple[str, str]:
    """Part (``train`` where the file does not divide) and input name (or empty) of an array."""
    match = _KNOWN.fullmatch(name)
    assert match is not None
    return match["part"] or "train", match["input"] or ""


def _read(members: Archive, name: str, member: str) -> _Array:
    with members.open(member) as stream:
        shape, dtype = _header(stream, name)
        size = math.prod(shape) * dtype.itemsize
        if stream.tell() + size != members.bytes_of(member):
            raise archive.damaged()
        lowest, highest, whole = math.inf, -math.inf, True
        for block in _blocks(stream, dtype):
            low, high = float(block.min()), float(block.max())
            # A NaN or an infinity anywhere reaches one of the two.
            if not (math.isfinite(low) and math.isfinite(high)):
                raise _not_finite(name)
            lowest, highest = min(lowest, low), max(highest, high)
            whole = whole and (dtype.kind in "iub" or bool(np.all(block == np.floor(block))))
    return _Array(name, shape, dtype.name, lowest, highest, whole)


def _header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        version = npy.read_magic(stream)
        reader = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shape, _, dtype = reader(stream)
    except (ValueError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
        raise archive.damaged() from error
    if dtype.hasobject:
        raise RefusedFileError(
            "object_array",
            f"The array {name} holds Python objects, which are never unpickled here.",
            hint="Often a list of unequal lengths: pad it to one shape. " + _HINT,
        )
    if dtype.kind not in "fiub" or dtype.itemsize > _MAX_ITEM_BYTES:
        raise RefusedFileError(
            "unsupported_dtype",
            f"The array {name} must hold integers, booleans or floats. Received: {dtype}.",
            hint=_HINT,
        )
    if not shape or len(shape) > _MAX_RANK:
        raise RefusedFileError(
            "no_samples",
            f"The array {name} must have the samples along its first axis. Received: shape "
            f"{shape}.",
            hint=_HINT,
        )
    return shape, dtype


def _blocks(stream: IO[bytes], dtype: np.dtype[Any]) -> Iterator[Numbers]:
    while chunk := stream.read(_BLOCK_BYTES):
        yield np.frombuffer(chunk, dtype)


def _not_finite(name: str) -> RefusedFileError:
    return RefusedFileError(
        "not_finite",
        f"The array {name} holds NaN or infinite values.",
        hint="Remove or replace those samples and upload the file again.",
    )


def _missing(name: str, evidence: str) -> RefusedFileError:
    return RefusedFileError(
        "missing_array",
        f"A dataset needs {name}: {evidence}.",
        hint="Give x_train and y_train (and, if you have them, x_val, y_val, x_test, y_test); "
        "several inputs as x_train/<input name>. Without labels, leave out y in every part.",
    )


def _summary(arrays: list[_Array], *, ignored: tuple[str, ...]) -> DatasetSummary:
    _require_one_way(arrays)
    samples = {part: _samples(part, arrays) for part in ("train", "val", "test")}
    if samples["train"] == 0:
        raise RefusedFileError(
            "no_samples", "The dataset has no training sample.", hint="Add samples to x_train."
        )
    _require_one_shape(arrays)
    labels = [array for array in arrays if array.is_label and array.samples]
    return DatasetSummary(
        arrays=tuple(
            TensorSpec(name=array.name, shape=array.shape, dtype=array.dtype) for array in arrays
        ),
        ignored=ignored,
        train_samples=samples["train"],
        validation_samples=samples["val"],
        test_samples=samples["test"],
        integer_labels=bool(labels)
        and all(array.whole and array.shape[1:] in {(), (1,)} for array in labels),
        lowest_label=min((array.lowest for array in labels), default=None),
        highest_label=max((array.highest for array in labels), default=None),
    )


def _require_one_way(arrays: list[_Array]) -> None:
    """Refuse a part that is given as both ``x`` and ``x_train``, or both bare and by input."""
    for array in arrays:
        head, _, named = array.name.partition("/")
        for other in arrays:
            other_head, _, other_named = other.name.partition("/")
            is_same = (array.is_label, array.part) == (other.is_label, other.part)
            if is_same and (head, bool(named)) != (other_head, bool(other_named)):
                raise RefusedFileError(
                    "ambiguous_arrays",
                    f"Give either {array.name} or {other.name}, not both.",
                    hint=_HINT,
                )


def _samples(part: str, arrays: list[_Array]) -> int:
    """Number of samples in a part; 0 where the file has none of it."""
    inputs = [array for array in arrays if array.part == part and not array.is_label]
    labels = [array for array in arrays if array.part == part and array.is_label]
    if not inputs and not labels and part != "train":
        return 0
    _require_whole(part, inputs, labels, arrays)
    first = labels[0] if labels else inputs[0]
    for array in inputs:
        if array.samples != first.samples:
            raise RefusedFileError(
                "length_mismatch",
                f"{array.name} and {first.name} must have as many samples as each other. "
                f"Received: {array.samples} and {first.samples}.",
                hint="Cut both to the samples that belong together.",
            )
    return first.samples


def _require_whole(
    part: str, inputs: list[_Array], labels: list[_Array], arrays: list[_Array]
) -> None:
    """Refuse a part without inputs, without one of them, or without labels that others have."""
    has_labels = any(array.is_label for array in arrays)
    if not inputs or (has_labels and not labels):
        there = inputs or labels
        wanted = f"x and y of its {part} part" if has_labels else f"x of its {part} part"
        raise _missing(wanted, f"it has only {there[0].name}" if there else "it has neither")
    absent = {array.input_name for array in arrays if not array.is_label} - {
        array.input_name for array in inputs
    }
    if absent:
        raise _missing(f"every input in its {part} part", f"'{min(absent)}' is absent")


def _require_one_shape(arrays: list[_Array]) -> None:
    for array in arrays:
        first = next(
            other
            for other in arrays
            if (other.is_label, other.input_name) == (array.is_label, array.input_name)
        )
        if first.shape[1:] != array.shape[1:]:
            raise RefusedFileError(
                "shape_mismatch",
                f"The samples of {first.name} and {array.name} must have one shape. "
                f"Received: {first.shape[1:]} and {array.shape[1:]}.",
                hint="Bring every part to the same shape.",
            )
