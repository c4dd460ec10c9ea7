"""One request at a time for each upload, and always the latest."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from anyio import CancelScope, Event

from app.jobs.errors import UploadBusyError


@dataclass(frozen=True)
class _Turn:
    scope: CancelScope = field(default_factory=CancelScope)
    over: Event = field(default_factory=Event)


class Turns:
    """Who works on what, among the requests of this process.

    Whoever asks for an upload again has lost the connection before, of which this end may not hear
    for a long time: so the former request is ended, rather than the new one refused.
    """

    def __init__(self) -> None:
        self._turns: dict[str, _Turn] = {}

    @asynccontextmanager
    async def taken(self, name: str) -> AsyncGenerator[None]:
        """Be the only one who works on ``name``; who does so now is cancelled, and waited for.

        Raises:
            UploadBusyError: a later request has taken over, and the block was cancelled.
        """
        while (former := self._turns.get(name)) is not None:
            former.scope.cancel()
            await former.over.wait()
        turn = self._turns[name] = _Turn()
        try:
            with turn.scope:
                yield
        finally:
            del self._turns[name]
            turn.over.set()
        if turn.scope.cancelled_caught:
            message = "a later request goes on with this upload"
            raise UploadBusyError(message)
