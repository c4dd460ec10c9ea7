"""The process that handles one uploaded model: ``python -m app.jobs.confinement worker.runner``.

It imports TensorFlow and Keras, says ``ready``, takes exactly one order from its stdin, reports on
what was its stdout, and ends. It has no credentials and talks to nobody else. It is confined before
this file is read: all it can change is the folder that it was started in, where the order's files
lie.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable
from typing import BinaryIO

from worker.errors import RefusedError
from worker.messages import (
    MAX_LINE_BYTES,
    Order,
    Outcome,
    PruneOrder,
    Ready,
    Refused,
    Report,
    Update,
    VerifyOrder,
    line_of,
    order_of,
)

_STDIN, _STDOUT, _STDERR = 0, 1, 2


def main() -> int:
    """Become ready, carry out one order, and return the exit status."""
    reports = _take_stdout()

    def report(message: Report) -> None:
        reports.write(line_of(message))
        reports.flush()

    _warm_up()
    report(Ready())
    line = sys.stdin.buffer.readline(MAX_LINE_BYTES)
    if not line:
        return 0
    order = order_of(line)
    threading.Thread(target=_end_when_orphaned, name="orphan", daemon=True).start()
    report(_answer(order, report))
    return 0


def _end_when_orphaned() -> None:
    """End this process when the supervisor's end of stdin closes: it does on any platform."""
    while os.read(_STDIN, 1):
        pass
    os._exit(1)


def _take_stdout() -> BinaryIO:
    """Return what was stdout; what libraries print goes to stderr from now on."""
    reports = os.fdopen(os.dup(_STDOUT), "wb")
    os.dup2(_STDERR, _STDOUT)
    return reports


def _warm_up() -> None:
    """Import and run what every job needs, so that no job waits for it."""
    # Not earlier: TensorFlow prints as it is imported.
    importlib.import_module("worker.rehearsal").rehearse()
    importlib.import_module("worker.verifying")


def _answer(order: Order, report: Callable[[Update], None]) -> Outcome | Refused:
    try:
        return _carry_out(order, report)
    except RefusedError as error:
        return Refused(failure=error.failure)


def _carry_out(order: Order, report: Callable[[Update], None]) -> Outcome:
    match order:
        case PruneOrder():
            # Not earlier: who verifies has to do without what it imports.
            from worker.pruning import prune  # noqa: PLC0415

            return prune(order, report)
        case VerifyOrder():
            from worker.verifying import verify  # noqa: PLC0415

            return verify(order, report)


if __name__ == "__main__":
    sys.exit(main())
