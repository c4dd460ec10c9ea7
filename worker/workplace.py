"""A folder of the worker's own, so that what a dead worker left can be told from what one uses."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)


@contextmanager
def workplace(work: Path) -> Generator[Path]:
    """Yield a new folder below ``work``, which other workers use too; remove it at the end.

    The kernel lets go of a worker's lock on its folder however it ends.
    """
    work.mkdir(parents=True, exist_ok=True)
    with _held(work):
        folder = Path(tempfile.mkdtemp(prefix="worker-", dir=work))
        lock = _lock(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def remove_abandoned(work: Path) -> None:
    """Remove the folders of workers that are dead."""
    # Held, so that no folder is found between its making and its locking.
    with _held(work):
        for folder in work.iterdir():
            try:
                lock = _lock(folder)
            except BlockingIOError:
                continue
            logger.warning("no worker lives that used %s: it is removed", folder)
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


@contextmanager
def _held(work: Path) -> Generator[None]:
    descriptor = os.open(work, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _lock(folder: Path) -> int:
    """Return the open folder, locked until it is closed; BlockingIOError where another has it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    return descriptor
