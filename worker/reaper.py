"""What nobody else looks after: jobs that nobody was woken for, a dead spare, a sign of life."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta

from app.jobs.errors import BackendUnavailableError
from app.jobs.lanes import Lane
from app.jobs.queue import Doorbell
from app.jobs.store import Store
from worker.housekeeping import Housekeeper
from worker.runners import RunnerPool

logger = logging.getLogger(__name__)

#: A wake-up that nobody answered for this long was lost, or everybody is busy.
_UNRUNG_FOR = timedelta(minutes=1)
#: Whoever answers takes the job that is next, whichever it was rung for: more would be in vain.
_MOST_WAITING = 100


class Reaper:
    """Looks, every few seconds, in a thread of its own, until it is closed.

    Args:
        store: Knows which jobs are due.
        doorbell: Is rung for them.
        runners: Whose spare is looked after.
        housekeeper: Removes what nobody needs any more.
        here: Called to say that this worker is there.
        every: How often.
    """

    def __init__(  # noqa: PLR0913  (its collaborators, each once)
        self,
        store: Store,
        doorbell: Doorbell,
        runners: RunnerPool,
        housekeeper: Housekeeper,
        *,
        here: Callable[[], None],
        every: timedelta,
    ) -> None:
        self._store = store
        self._doorbell = doorbell
        self._runners = runners
        self._housekeeper = housekeeper
        self._here = here
        self._every = every
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._look_until_closed, name="reaper", daemon=True)

    def start(self) -> None:
        """Look for the first time, and then again and again."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking; returns when the thread has ended."""
        self._closing.set()
        self._thread.join()

    def look(self) -> None:
        """Say that the worker is there, mend the spare, ring for what is due, and tidy up.

        Raises:
            BackendUnavailableError: database, files or broker cannot be reached.
        """
        self._here()
        self._runners.mend()
        for lane in Lane:
            self._ring(lane)
        self._housekeeper.tidy()

    def _ring(self, lane: Lane) -> None:
        missing = _MOST_WAITING - self._doorbell.waiting(lane)
        if missing <= 0:
            return
        for job_id in self._store.due(lane, unrung_for=_UNRUNG_FOR, most=missing):
            self._doorbell.ring(job_id, lane)
            self._store.rang(job_id)

    def _look_until_closed(self) -> None:
        while True:
            try:
                self.look()
            except BackendUnavailableError as error:
                logger.warning("the reaper could not look: %s", error)
            except Exception:
                # Without it, a wake-up that was lost stays lost for as long as the worker lives.
                logger.exception("the reaper could not look")
            if self._closing.wait(self._every.total_seconds()):
                return
