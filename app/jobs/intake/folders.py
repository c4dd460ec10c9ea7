"""What is in a zip with a folder of images, or of texts, for each class."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from app.jobs.errors import RefusedFileError
from app.jobs.intake.archive import OF_FILES, Archive, open_archive
from app.jobs.intake.class_folders import (
    IMAGE_ENDINGS,
    TEXT_ENDINGS,
    ClassFolders,
    Part,
    Sample,
    class_folders,
)
from app.jobs.intake.image_size import HEAD_BYTES, image_size
from app.jobs.uploads import DatasetSummary, TensorSpec

#: Of one image: 8192 by 8192.
MAX_PIXELS = 2**26
MAX_IMAGE_BYTES = 64 * 2**20
MAX_TEXT_BYTES = 2**18

_MOSTLY_ENOUGH_BYTES = 2**14
_PARTS: tuple[Part, ...] = ("train", "val", "test")


def kind_of(names: Iterable[str]) -> Literal["npz", "images", "text"]:
    """Return what a zip with members of these names is taken for."""
    endings = {"." + name.lower().rpartition(".")[2] for name in names}
    if ".npy" in endings:
        return "npz"
    if endings & set(IMAGE_ENDINGS):
        return "images"
    return "text" if endings & set(TEXT_ENDINGS) else "npz"


def summarise_images(path: Path) -> DatasetSummary:
    """Check a zip of images; each is looked at as far as its size.

    Raises:
        RefusedFileError: it cannot be taken.
    """
    with open_archive(path, OF_FILES) as archive:
        folders = class_folders(archive.names, IMAGE_ENDINGS)
        sizes = {sample: _size_of(archive, sample) for sample in folders.samples}
    height, width = (one_or_none(size[axis] for size in sizes.values()) for axis in (0, 1))
    return _summary(folders, "images", shape=(height, width, None), dtype="uint8")


def summarise_texts(path: Path) -> DatasetSummary:
    """Check a zip of texts.

    Raises:
        RefusedFileError: it cannot be taken.
    """
    with open_archive(path, OF_FILES) as archive:
        folders = class_folders(archive.names, TEXT_ENDINGS)
        longest = max((len(read_text(archive, each.name)) for each in folders.samples), default=0)
    return _summary(folders, "text", shape=(), dtype=f"S{max(1, longest)}")


def read_text(archive: Archive, name: str) -> bytes:
    """Return the UTF-8 of one text.

    Raises:
        RefusedFileError: ``bad_text``.
    """
    if archive.bytes_of(name) > MAX_TEXT_BYTES:
        raise _bad_text(name, f"have at most {MAX_TEXT_BYTES} bytes")
    with archive.open(name) as stream:
        content = stream.read()
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _bad_text(name, "be UTF-8") from error
    if b"\0" in content:
        raise _bad_text(name, "have no zero bytes")
    return content


def one_or_none(values: Iterable[int]) -> int | None:
    """Return the value that all are; ``None`` where they differ."""
    distinct = set(values)
    return distinct.pop() if len(distinct) == 1 else None


def require_moderate(name: str, size: tuple[int, int]) -> None:
    """Refuse an image of a size that no model looks at.

    Raises:
        RefusedFileError: ``image_too_large`` or ``bad_image``.
    """
    height, width = size
    if height * width > MAX_PIXELS:
        raise RefusedFileError(
            "image_too_large",
            f"An image must have at most {MAX_PIXELS} pixels. Received: {name} of {height} x "
            f"{width}.",
            hint="Scale the images to about what the model takes, and pack them again.",
        )
    if height * width == 0:
        raise bad_image(name)


def bad_image(name: str) -> RefusedFileError:
    """The refusal of a file that calls itself an image."""
    return RefusedFileError(
        "bad_image",
        f"{name} must be a PNG, a JPEG or a BMP. Received: something else.",
        hint="Convert it, or leave it out, and pack the images again.",
    )


def _size_of(archive: Archive, sample: Sample) -> tuple[int, int]:
    if archive.bytes_of(sample.name) > MAX_IMAGE_BYTES:
        raise RefusedFileError(
            "image_too_large",
            f"An image must have at most {MAX_IMAGE_BYTES} bytes. Received: {sample.name}.",
            hint="Scale the images to about what the model takes, and pack them again.",
        )
    with archive.open(sample.name) as stream:
        head = stream.read(_MOSTLY_ENOUGH_BYTES)
        size = image_size(head) or image_size(head + stream.read(HEAD_BYTES))
    if size is None:
        raise bad_image(sample.name)
    require_moderate(sample.name, size)
    return size


def _summary(
    folders: ClassFolders,
    kind: Literal["images", "text"],
    *,
    shape: tuple[int | None, ...],
    dtype: str,
) -> DatasetSummary:
    counts = {part: len(folders.of(part)) for part in _PARTS}
    if counts["train"] == 0:
        raise RefusedFileError(
            "no_samples",
            "The dataset has no training sample.",
            hint="Add a folder of samples for each class.",
        )
    arrays = [
        spec
        for part, count in counts.items()
        if count
        for spec in (
            TensorSpec(name=f"x_{part}", shape=(count, *shape), dtype=dtype),
            TensorSpec(name=f"y_{part}", shape=(count,), dtype="int64"),
        )
    ]
    return DatasetSummary(
        kind=kind,
        arrays=tuple(arrays),
        classes=folders.classes,
        ignored=folders.ignored,
        train_samples=counts["train"],
        validation_samples=counts["val"],
        test_samples=counts["test"],
        integer_labels=True,
        lowest_label=0.0,
        highest_label=float(len(folders.classes) - 1),
    )


def _bad_text(name: str, rule: str) -> RefusedFileError:
    return RefusedFileError(
        "bad_text",
        f"Each text must {rule}. Received: {name}.",
        hint="Change it, or leave it out, and pack the texts again.",
    )
