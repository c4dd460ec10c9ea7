"""The static check in a process of its own: whatever a file does to it, the caller gets words."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel

from app.jobs.errors import RefusedFileError
from app.jobs.uploads import DatasetSummary, ModelSummary

_log = logging.getLogger(__name__)

_SOURCES = Path(__file__).parents[3]
_Summary = TypeVar("_Summary", bound=BaseModel)


def check_model(path: Path, *, timeout_seconds: float) -> ModelSummary:
    """Check the model file at ``path`` and say what is in it.

    Raises:
        RefusedFileError: it cannot be taken, or the check did not come to an end.
    """
    return _check("model", path, ModelSummary, timeout_seconds=timeout_seconds)


def check_dataset(path: Path, *, timeout_seconds: float) -> DatasetSummary:
    """Check the dataset file at ``path`` and say what is in it.

    Raises:
        RefusedFileError: it cannot be taken, or the check did not come to an end.
    """
    return _check("dataset", path, DatasetSummary, timeout_seconds=timeout_seconds)


def _check(
    kind: Literal["model", "dataset"],
    path: Path,
    summary: type[_Summary],
    *,
    timeout_seconds: float,
) -> _Summary:
    with tempfile.TemporaryDirectory(prefix="espalier-check-") as folder:
        command = [sys.executable, "-P", "-m", "app.jobs.intake", kind, str(path.absolute())]
        try:
            ended = subprocess.run(
                command,
                cwd=folder,
                env=_environment(folder),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise _timed_out(timeout_seconds) from error
    if ended.returncode != 0:
        _log.error("the check of a %s ended with %s", kind, ended.returncode)
        _log.error("%s", ended.stderr[-2000:].decode(errors="replace"))
        raise _crashed()
    answer = json.loads(ended.stdout)
    if "refusal" in answer:
        raise RefusedFileError(**answer["refusal"])
    return summary.model_validate(answer["summary"])


def _environment(folder: str) -> dict[str, str]:
    """Everything that the child knows of its surroundings: no address and no secret of ours."""
    return {
        "HDF5_PLUGIN_PRELOAD": "::",
        "HDF5_USE_FILE_LOCKING": "FALSE",
        "LANG": "C.UTF-8",
        # Threads reserve memory that the check's bound would count.
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": str(_SOURCES),
        "TMPDIR": folder,
    }


def _timed_out(timeout_seconds: float) -> RefusedFileError:
    return RefusedFileError(
        "check_timed_out",
        f"The file could not be checked in {timeout_seconds:g} seconds.",
        hint="Save it again without compression, or with fewer samples, and upload it again.",
    )


def _crashed() -> RefusedFileError:
    return RefusedFileError(
        "check_crashed",
        "The file could not be read: it broke the process that checks it.",
        hint="Save it again with the current Keras or NumPy and upload it again.",
    )
