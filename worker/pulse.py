"""The heartbeat of a claimed job, beaten beside the work."""

from __future__ import annotations

import logging
import threading
import time
from contextvars import copy_context
from datetime import timedelta
from functools import partial
from typing import Self

from app.jobs.claims import Claim, Wish
from app.jobs.errors import BackendUnavailableError, LostClaimError
from app.jobs.store import Store
from worker.errors import CancelledError, PausedError, StoppedError

logger = logging.getLogger(__name__)

#: A caller who cancels or pauses waits no longer than this until the worker knows.
_MOST_SECONDS_BETWEEN_BEATS = 1.0


class Pulse:
    """Holds a claim while the work goes on, whatever the work waits for.

    Args:
        store: Where the claim is held.
        claim: Which.
        lease: How long it holds without a beat.
        stopping: Set when the worker goes down.
    """

    def __init__(
        self, store: Store, claim: Claim, *, lease: timedelta, stopping: threading.Event
    ) -> None:
        self._store = store
        self._claim = claim
        self._lease = lease
        self._stopping = stopping
        self._over = threading.Event()
        self._lost = threading.Event()
        self._wish = Wish.GO_ON
        # Its log lines are about the same job.
        beat = partial(copy_context().run, self._beat_until_over)
        self._thread = threading.Thread(target=beat, name="pulse", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def check(self) -> None:
        """Return when the work should go on.

        Raises:
            LostClaimError: somebody else has the job: write nothing more.
            CancelledError: its caller withdrew it.
            PausedError: its caller set it aside.
            StoppedError: the worker goes down.
        """
        if self._lost.is_set():
            message = f"the claim on {self._claim.job.id} was lost"
            raise LostClaimError(message)
        if self._wish is Wish.CANCEL:
            raise CancelledError
        if self._wish is Wish.PAUSE:
            raise PausedError
        if self._stopping.is_set():
            raise StoppedError

    def _beat_until_over(self) -> None:
        lease_seconds = self._lease.total_seconds()
        pause = min(lease_seconds / 3, _MOST_SECONDS_BETWEEN_BEATS)
        beaten_at = time.monotonic()
        while not self._over.wait(pause) and not self._lost.is_set():
            began_at = time.monotonic()
            try:
                worked = timedelta(seconds=began_at - beaten_at)
                self._wish = self._store.heartbeat(self._claim, lease=self._lease, worked=worked)
                beaten_at = began_at
            except LostClaimError:
                self._lost.set()
            except BackendUnavailableError as error:
                logger.warning("no heartbeat for %s: %s", self._claim.job.id, error)
                if time.monotonic() - beaten_at > lease_seconds:
                    self._lost.set()
            except Exception:
                # Nobody else would stop work that no lease covers.
                logger.exception("no heartbeat for %s", self._claim.job.id)
                self._lost.set()
