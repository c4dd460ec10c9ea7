"""The process that handles one uploaded model.

It is forked from the nursery, or, where there is no Linux, a program of its own, started by
``python -m worker.runner``. It says ``ready`` when it has what every job
needs, takes exactly one order from its stdin, reports on what was its stdout, and ends. It has no
credentials and talks to nobody else. On Linux it is confined before it does anything: all it can
change is the folder that it works in, where the order's files lie.
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
    CheckOrder,
    ConvertOrder,
    Order,
    Outcome,
    PruneOrder,
    Ready,
    Refused,
    Report,
    TranslateOrder,
    Update,
    VerifyOrder,
    line_of,
    order_of,
)

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_NEEDED = (
    "app.jobs.intake.model",
    "worker.objective",
    "worker.progress",
    "worker.rehearsal",
    "worker.verifying",
)


def main() -> int:
    """Become ready, carry out one order, and return the exit status."""
    reports = _take_stdout()

    def report(message: Report) -> None:
        reports.write(line_of(message))
        reports.flush()

    # Not earlier: TensorFlow prints as it is imported.
    prepare()
    importlib.import_module("worker.rehearsal").rehearse()
    report(Ready())
    line = sys.stdin.buffer.readline(MAX_LINE_BYTES)
    if not line:
        return 0
    order = order_of(line)
    asked = threading.Event()
    threading.Thread(target=_listen, args=(asked,), name="listener", daemon=True).start()
    report(_answer(order, report, asked))
    return 0


def prepare() -> None:
    """Import what every job needs, so that no job waits for it, and compute nothing."""
    for module in _NEEDED:
        importlib.import_module(module)


def _listen(asked: threading.Event) -> None:
    """Take whatever else the supervisor says for the wish for a checkpoint, and its silence.

    Its end of stdin closes when it dies, on any platform: then this process ends too.
    """
    while os.read(_STDIN, 1):
        asked.set()
    os._exit(1)


def _take_stdout() -> BinaryIO:
    """Return what was stdout; what libraries print goes to stderr from now on."""
    reports = os.fdopen(os.dup(_STDOUT), "wb")
    os.dup2(_STDERR, _STDOUT)
    return reports


def _answer(
    order: Order, report: Callable[[Update], None], asked: threading.Event
) -> Outcome | Refused:
    try:
        return _carry_out(order, report, asked)
    except RefusedError as error:
        return Refused(failure=error.failure)


def _carry_out(order: Order, report: Callable[[Update], None], asked: threading.Event) -> Outcome:
    match order:
        case TranslateOrder():
            # Not earlier: no other process is to have anything of Keras 2.
            from worker.translating import translate  # noqa: PLC0415

            return translate(order, report)
        case PruneOrder():
            # Not earlier: who verifies has to do without what it imports.
            from worker.pruning import prune  # noqa: PLC0415

            return prune(order, report, asked=asked)
        case VerifyOrder():
            from worker.verifying import verify  # noqa: PLC0415

            return verify(order, report)
        case ConvertOrder():
            from worker.converting import convert  # noqa: PLC0415

            return convert(order, report)
        case CheckOrder():
            from worker.checking import check  # noqa: PLC0415

            return check(order, report)


if __name__ == "__main__":
    sys.exit(main())
