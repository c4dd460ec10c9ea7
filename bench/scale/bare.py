"""Celery alone: one task that does nothing, set up as the service's worker is.

``python -m bench.scale.bare`` is its worker; the broker's URL is in ``BENCH_SCALE_REDIS_URL``.
"""

from __future__ import annotations

import os
import time

from celery import Celery

#: Environment variable with the broker that also keeps the results.
REDIS_URL = "BENCH_SCALE_REDIS_URL"

_TASK = "bench.nothing"
_QUEUE = "bench"
_ANSWER_SECONDS = 60.0


class BareCelery:
    """Sends the task, and waits for its result.

    Args:
        redis_url: As the service's.
    """

    def __init__(self, redis_url: str) -> None:
        self.app = Celery("bare", broker=redis_url, backend=redis_url, set_as_current=False)
        self.app.conf.update(
            task_default_queue=_QUEUE,
            task_acks_late=True,
            worker_prefetch_multiplier=1,
            worker_pool="threads",
            worker_concurrency=1,
            worker_hijack_root_logger=False,
        )

    def round_trip(self) -> float:
        """Return the seconds from sending the task to having its result."""
        began = time.perf_counter()
        self.app.send_task(_TASK).get(timeout=_ANSWER_SECONDS)
        return time.perf_counter() - began

    def serve(self) -> None:
        """Be the worker."""

        @self.app.task(name=_TASK)
        def nothing() -> None:  # pyright: ignore[reportUnusedFunction]  (Celery keeps it)
            pass

        self.app.Worker(
            quiet=True, without_gossip=True, without_mingle=True, without_heartbeat=True
        ).start()


if __name__ == "__main__":
    BareCelery(os.environ[REDIS_URL]).serve()
