"""A whole service on this machine, for as long as a ``with`` lasts."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_ADDRESS = re.compile(r"(http://[^\s/]+)/?\s")
_START_SECONDS = 180.0
_STOP_SECONDS = 30.0


class ServiceNotStartedError(Exception):
    """``espalier serve`` ended, or said nothing for too long; the message carries its words."""


@contextmanager
def running_service(data_dir: Path) -> Generator[str]:
    """Start ``espalier serve`` on a free port and yield its address; stop it at the end.

    What the service says goes to ``serve.log`` in ``data_dir``, which must exist.

    Raises:
        ServiceNotStartedError: the service did not come up.
    """
    log = data_dir / "serve.log"
    command = [sys.executable, "-m", "app.cli", "serve", "--port", "0", "--data-dir", str(data_dir)]
    with (
        log.open("wb") as sink,
        subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT) as process,
    ):
        try:
            yield _wait_for_address(process, log)
        finally:
            _stop(process)


def _wait_for_address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        found = _ADDRESS.search(log.read_text(errors="replace"))
        if found:
            return found[1]
        time.sleep(0.05)
    message = f"the service must come up within {_START_SECONDS:g} seconds. It said:\n"
    raise ServiceNotStartedError(message + log.read_text(errors="replace")[-4000:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
