"""Answers that hold for as long as nothing is written: many who poll cost one look.

A look into the database takes a thread, a transaction, and records made of rows. A hundred callers
who ask for the same job many times a second ask the same thing of the same rows, which a worker
changes a few times a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from anyio import to_thread

_Answer = TypeVar("_Answer")


class Answers:
    """What was found in the database since it was last written to.

    Nobody is told anything older than what stood there when they asked. Those who ask at once wait
    for the same look.

    Args:
        revision: Another number whenever something has been written, by whomever. It is asked for
            each answer, in the thread of the event loop.
    """

    def __init__(self, revision: Callable[[], int]) -> None:
        self._revision = revision
        self._as_of: int | None = None
        self._looks: dict[Hashable, asyncio.Future[Any]] = {}

    async def to(self, question: Hashable, look: Callable[[], _Answer]) -> _Answer:
        """Return what ``look`` returns, or has returned to the same question.

        Args:
            question: Everything that the answer depends on, but for the database; whose it is.
            look: Finds the answer, in another thread. What it raises is raised, and not kept.
        """
        revision = self._revision()
        if revision != self._as_of:
            # Looks that go on are waited for by those who have asked, and by nobody else.
            self._looks, self._as_of = {}, revision
        looks = self._looks
        if question not in looks:
            looks[question] = asyncio.ensure_future(to_thread.run_sync(look))
            looks[question].add_done_callback(lambda done: _forget_failed(looks, question, done))
        # Whoever goes away leaves the others waiting.
        return cast("_Answer", await asyncio.shield(looks[question]))


@dataclass(frozen=True)
class TenantAnswers:
    """The answers to one tenant, who hears no other's."""

    _answers: Answers
    _tenant: str

    async def to(self, question: Hashable, look: Callable[[], _Answer]) -> _Answer:
        """Return what ``look`` returns, or has returned to this tenant; as ``Answers.to``."""
        return await self._answers.to((self._tenant, question), look)


def _forget_failed(
    looks: dict[Hashable, asyncio.Future[Any]], question: Hashable, done: asyncio.Future[Any]
) -> None:
    if done.cancelled() or done.exception() is not None:
        del looks[question]
