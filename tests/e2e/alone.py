"""Folders in which one package is installed, and what it depends on, and nothing else."""

from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement


def installed_alone(name: str, folder: Path) -> Path:
    """Link the files of the package, and of all that it needs, into ``folder``."""
    folder.mkdir()
    for each in _with_what_it_needs(name, set()):
        found = distribution(each)
        for top in {Path(file.parts[0]) for file in found.files or () if file.parts[0] != ".."}:
            link = folder / top
            if not link.exists():
                link.symlink_to(found.locate_file(top))
    return folder


def _with_what_it_needs(name: str, known: set[str]) -> set[str]:
    if name not in known:
        known.add(name)
        for line in distribution(name).requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                _with_what_it_needs(requirement.name, known)
    return known
