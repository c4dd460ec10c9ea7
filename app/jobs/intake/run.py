"""Static checks in processes of their own: whatever a file does to one, the caller gets words."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel

from app.jobs.errors import RefusedFileError, StorageFullError
from app.jobs.uploads import DatasetSummary, ModelSummary

logger = logging.getLogger(__name__)

_COMMAND = (sys.executable, "-P", "-m", "app.jobs.intake")
_SOURCES = Path(__file__).parents[3]
#: A job brings a model and a dataset.
_MOST_READY = 2
#: After a check the machine is for the job that it was made for: processes for the next ones are
#: started when this has passed without another.
_QUIET_SECONDS = 5.0

_Summary = TypeVar("_Summary", bound=BaseModel)


class Checks:
    """Checks files, each in a fresh process; safe to share between threads.

    Starting that process takes twenty times as long as checking a small file in it, so a few are
    kept waiting; where none is ready, one is started.

    Args:
        timeout_seconds: Bound on one check.
    """

    def __init__(self, *, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._ready: list[_Checker] = []
        self._is_closed = False
        self._timer = self._start_timer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def model(self, path: Path) -> ModelSummary:
        """Check the model file at ``path`` and say what is in it.

        Raises:
            RefusedFileError: it cannot be taken, or the check did not come to an end.
            StorageFullError: the disk has no room to unpack it.
        """
        return self._check("model", path, ModelSummary)

    def dataset(self, path: Path) -> DatasetSummary:
        """Check the dataset file at ``path`` and say what is in it.

        Raises:
            RefusedFileError: it cannot be taken, or the check did not come to an end.
            StorageFullError: the disk has no room to unpack it.
        """
        return self._check("dataset", path, DatasetSummary)

    def fill(self) -> None:
        """Have as many processes ready as are kept waiting; returns before they are."""
        with self._lock:
            while not self._is_closed and len(self._ready) < _MOST_READY:
                self._ready.append(_Checker())

    def close(self) -> None:
        """End the processes that wait, and keep none any more."""
        with self._lock:
            self._is_closed = True
            self._timer.cancel()
            waiting, self._ready = self._ready, []
        for checker in waiting:
            checker.end()

    def _check(
        self, kind: Literal["model", "dataset"], path: Path, summary: type[_Summary]
    ) -> _Summary:
        checker = self._take()
        try:
            answer = checker.ask(kind, path, timeout_seconds=self._timeout_seconds)
        finally:
            checker.end()
        if "no_room" in answer:
            message = f"there is no room to unpack what is checked: {answer['no_room']}"
            raise StorageFullError(message)
        if "refusal" in answer:
            raise RefusedFileError(**answer["refusal"])
        return summary.model_validate(answer["summary"])

    def _take(self) -> _Checker:
        with self._lock:
            self._timer.cancel()
            self._timer = self._start_timer()
            while self._ready:
                checker = self._ready.pop(0)
                if checker.is_alive:
                    return checker
                checker.end()
        return _Checker()

    def _start_timer(self) -> threading.Timer:
        timer = threading.Timer(_QUIET_SECONDS, self.fill)
        timer.daemon = True
        if not self._is_closed:
            timer.start()
        return timer


class _Checker:
    """One process, for one file."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="espalier-check-")
        self._process = subprocess.Popen(
            _COMMAND,
            cwd=self._folder.name,
            env=_environment(self._folder.name),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, kind: str, path: Path, *, timeout_seconds: float) -> dict[str, Any]:
        question = json.dumps({"kind": kind, "path": str(path.absolute())}).encode()
        try:
            answer, printed = self._process.communicate(question, timeout=timeout_seconds)
        except subprocess.TimeoutExpired as error:
            raise _timed_out(timeout_seconds) from error
        if self._process.returncode != 0:
            logger.error("the check of a %s ended with %s", kind, self._process.returncode)
            logger.error("%s", printed[-2000:].decode(errors="replace"))
            raise _crashed()
        return json.loads(answer)

    def end(self) -> None:
        with self._process:
            self._process.kill()
        self._folder.cleanup()


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
