"""How often one tenant may call."""

from __future__ import annotations

import math
import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from app.api.errors import TooManyRequestsError

#: Whoever is not let in, all together: one address, one wrong key or none, tells nothing that the
#: next request could not tell otherwise. No tenant can be called so.
STRANGERS = ""


class RateLimit:
    """Counts the requests of each tenant in the last minute, in the memory of this process.

    Each API process counts for itself: the door does not close when a broker is away. Who has a key
    never waits for those who have none.

    Args:
        per_minute: How many a tenant may make in any 60 seconds.
    """

    def __init__(self, per_minute: int) -> None:
        self._rule = RateLimitItemPerMinute(per_minute)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def count(self, tenant: str) -> None:
        """Count one request; raise TooManyRequestsError when it is one too many."""
        if self._limiter.hit(self._rule, tenant):
            return
        free_at = self._limiter.get_window_stats(self._rule, tenant).reset_time
        wait = max(1, math.ceil(free_at - time.time()))
        raise TooManyRequestsError(per_minute=self._rule.amount, retry_after_seconds=wait)
