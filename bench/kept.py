"""Results that are kept, so that what takes hours can be done in parts."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import keras


class Kept:
    """Results of earlier runs, each in a file that is named by what decides it."""

    def __init__(self, folder: Path) -> None:
        """Keep them in ``folder``."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str, *decided_by: object) -> Path:
        """Return where the result called ``name`` is or will be."""
        versions = (keras.__version__, keras.backend.backend())
        digest = hashlib.sha256(repr((name, versions, decided_by)).encode()).hexdigest()
        return self._folder / f"{name}-{digest[:12]}.json"

    def measured(self, path: Path, measure: Callable[[], float]) -> float:
        """Return the accuracy at ``path``; measured if it is not there."""
        if not path.is_file():
            print(path.name, file=sys.stderr, flush=True)
            accuracy = measure()
            path.write_text(json.dumps({"accuracy": accuracy}))
        return json.loads(path.read_text())["accuracy"]
