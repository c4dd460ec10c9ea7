"""A process that can be struck and started again."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_STOP_SECONDS = 30.0


class Part:
    """A process that runs from now on.

    Args:
        name: For whoever reads what was struck.
        command: How it is started.
        environment: Beside that of this process.
        log: Where it writes.
        keeps: File descriptors that it inherits.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        keeps: Sequence[int] = (),
    ) -> None:
        self.name = name
        self._command = tuple(command)
        self._environment = {**os.environ, **environment}
        self._log = log
        self._keeps = tuple(keeps)
        self._process = self._spawned()

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    @property
    def has_died(self) -> bool:
        """Whether it ended, and nobody started it again."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """End it without a word."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Have it do nothing more, as if its machine had been suspended."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on, unaware of the time."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self.thaw()
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def start(self) -> None:
        """Start it again after it ended."""
        if self.has_died:
            self._process = self._spawned()

    def _spawned(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return self._started(log)

    def _started(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=self._keeps,
            start_new_session=True,
        )
