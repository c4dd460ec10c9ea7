"""A zip with a folder for each class: which of its files is a sample, and of what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from app.jobs.errors import RefusedFileError

Part: TypeAlias = Literal["train", "val", "test"]

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp")
TEXT_ENDINGS = (".txt",)

_PARTS: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_MAX_CLASSES = 10_000
_IGNORED_SHOWN = 20
_A_CLASS_AND_A_FILE = 2
_HINT = (
    "Pack a folder for each class, cats/1.png and dogs/1.png for example; if you have them, in "
    "folders train, val and test."
)


@dataclass(frozen=True)
class Sample:
    """One file of the zip."""

    name: str  #: Of the member.
    part: Part
    label: int  #: Place of its class in ``ClassFolders.classes``.


@dataclass(frozen=True)
class ClassFolders:
    """What a zip holds, in the order in which samples count: by part, class and name."""

    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    ignored: tuple[str, ...]  #: Files that are no samples; the first few.

    def of(self, part: Part) -> tuple[Sample, ...]:
        """Return the samples of one part."""
        return tuple(sample for sample in self.samples if sample.part == part)


def class_folders(names: Iterable[str], endings: tuple[str, ...]) -> ClassFolders:
    """Sort the files of a zip into parts and classes, as Keras' ``*_dataset_from_directory`` do.

    Args:
        names: Of its members.
        endings: In small letters, of those that are samples.

    Raises:
        RefusedFileError: ``no_class_folders``.

    >>> folders = class_folders(["pets/dog/1.png", "pets/cat/1.png", "pets/README"], (".png",))
    >>> folders.classes, [sample.label for sample in folders.samples], folders.ignored
    (('cat', 'dog'), [0, 1], ('pets/README',))
    """
    files: list[str] = []
    ignored: list[str] = []
    for name in sorted(names):
        is_sample = name.lower().endswith(endings) and not _is_hidden(name)
        (files if is_sample else ignored).append(name)
    placed = _placed({name: tuple(name.split("/")) for name in files})
    classes = tuple(sorted({class_name for _, class_name in placed.values()}))
    if len(classes) > _MAX_CLASSES:
        raise _no_folders(f"at most {_MAX_CLASSES} classes. Received: {len(classes)}")
    places = {class_name: place for place, class_name in enumerate(classes)}
    samples = [Sample(name, part, places[one]) for name, (part, one) in placed.items()]
    shown = (name for name in ignored if not _is_hidden(name))
    return ClassFolders(
        classes,
        tuple(sorted(samples, key=lambda sample: (sample.part, sample.label, sample.name))),
        tuple(shown)[:_IGNORED_SHOWN],
    )


def _placed(paths: dict[str, tuple[str, ...]]) -> dict[str, tuple[Part, str]]:
    """Return part and class of each file."""
    paths = _without_outermost(paths)
    first = {path[0].lower() for path in paths.values()}
    is_divided = bool(first) and first <= _PARTS.keys()
    placed: dict[str, tuple[Part, str]] = {}
    for name, path in paths.items():
        part: Part = _PARTS[path[0].lower()] if is_divided else "train"
        inside = path[1:] if is_divided else path
        if len(inside) < _A_CLASS_AND_A_FILE:
            raise _no_folders(f"each file in the folder of its class. Received: {name}")
        placed[name] = (part, inside[0])
    return placed


def _without_outermost(paths: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Leave out folders that hold all others, as those are made by packing one folder."""
    while True:
        outermost = {path[0] for path in paths.values()}
        depth = min((len(path) for path in paths.values()), default=0)
        is_part = bool({name.lower() for name in outermost} & _PARTS.keys())
        if len(outermost) != 1 or depth <= _A_CLASS_AND_A_FILE or is_part:
            return paths
        paths = {name: path[1:] for name, path in paths.items()}


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _no_folders(wanted: str) -> RefusedFileError:
    return RefusedFileError("no_class_folders", f"The zip must have {wanted}.", hint=_HINT)
