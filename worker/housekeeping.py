"""What nobody needs any more is removed: rows whose time is over, files that no row names."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from app.jobs.artifacts import ArtifactStore
from app.jobs.store import Store
from worker.workplace import remove_abandoned

logger = logging.getLogger(__name__)

#: Longer than it takes from the last byte of a file to the row that names it.
_MAY_BE_UNNAMED = timedelta(hours=1)
_BETWEEN_SWEEPS = timedelta(hours=1)


class Housekeeper:
    """Tidies up, for every tenant; several may do so at once.

    Args:
        store: Has the rows.
        artifacts: Has the files.
        work: Where the workers of this machine have their folders.
        uploads_kept: How long a model or dataset is kept that no job names; ``None`` for ever.
    """

    def __init__(
        self, store: Store, artifacts: ArtifactStore, *, work: Path, uploads_kept: timedelta | None
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._work = work
        self._uploads_kept = uploads_kept
        self._next_sweep = time.monotonic()

    def tidy(self) -> None:
        """Remove what has expired; from time to time, what a crash has left behind, too.

        Raises:
            BackendUnavailableError: database or files cannot be reached.
        """
        # Rows first: what is left when this process dies in between is swept.
        for key in self._store.forget_expired(uploads_kept=self._uploads_kept):
            self._artifacts.delete_below(key)
        if time.monotonic() >= self._next_sweep:
            self.sweep()
            self._next_sweep = time.monotonic() + _BETWEEN_SWEEPS.total_seconds()

    def sweep(self) -> None:
        """Remove files without a row, but for those that may be getting one, and dead workers'."""
        remove_abandoned(self._work)
        before = datetime.now(UTC) - _MAY_BE_UNNAMED
        self._artifacts.delete_unfinished(before=before)
        listed = self._artifacts.written_before(before)
        for key in self._store.without_row(listed):
            logger.warning("no row names the file %s: it is removed", key)
            self._artifacts.delete(key)
