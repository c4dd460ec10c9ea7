"""How runner processes come to be, as the worker sees it."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol, Self, TypeAlias

from app.jobs.confinement import kernel
from worker.errors import RunnerDiedError

logger = logging.getLogger(__name__)

#: The name of the process, as ``ps`` shows it; the kernel has room for 15 bytes.
RUNNER = "espalier-runner"
COULD_NOT_START = "The process that prunes models could not start; the operator's log says why."

_ROOT = Path(__file__).parent.parent
_NURSERY = (sys.executable, "-P", "-m", "worker.nursery")
#: Where there is no nursery.
PROGRAM = (sys.executable, "-P", "-m", "worker.runner")
#: What a runner may know of the worker's environment: where programs and devices are.
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
#: How long TensorFlow may take to be imported, from a slow disk for one.
_PATIENCE_SECONDS = 120.0
_LOOK_SECONDS = 0.001
_LOGGED_BYTES = 4000

#: What is to be stdin, stdout and stderr of a process.
Streams: TypeAlias = tuple[int, int, int]


class Process(Protocol):
    """A child of this process; ``subprocess.Popen`` is one."""

    @property
    def pid(self) -> int:
        """Its id."""
        ...

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; ``None`` while it lives."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status when there is one, or raise ``subprocess.TimeoutExpired``."""
        ...


#: Starts a runner that works in a folder, with so much more in its environment.
Spawn: TypeAlias = Callable[[Path, Streams, Mapping[str, str]], Process]


def by_command(command: Sequence[str]) -> Spawn:
    """Return what starts a runner as a program of its own."""

    def spawn(folder: Path, streams: Streams, more: Mapping[str, str]) -> Process:
        return _started(command, folder, streams, more)

    return spawn


class Nursery:
    """Has runners forked from a process that has imported already what they need.

    That process is started at once, and again whenever it has died. Of the threads that ask, one
    does at a time.

    Args:
        folder: Its working directory, and the place of its log.
        command: What it is.
    """

    def __init__(self, folder: Path, *, command: Sequence[str] = _NURSERY) -> None:
        self._folder = folder
        self._command = command
        folder.mkdir(parents=True, exist_ok=True)
        # The processes between it and the runners end at once, so those are orphans.
        kernel.adopt_orphans()
        self._log = (folder / "log").open("a+b")
        self._process, self._socket = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._log.close()

    def spawn(self, folder: Path, streams: Streams, more: Mapping[str, str]) -> Process:
        """Start a runner, see ``Spawn``; the first one comes when all is imported.

        Raises:
            RunnerDiedError: the process that it would be forked from does not start.
            OSError: there is no room for another process.
        """
        if self._process.poll() is not None:
            logger.warning("the nursery died, and is started again: %s", last_words(self._log))
            self._end()
            self._process, self._socket = self._start()
        try:
            words = [str(folder), *(f"{name}={value}" for name, value in more.items())]
            socket.send_fds(self._socket, [os.fsencode("\0".join(words))], streams)
            answer = int(self._socket.recv(_LOGGED_BYTES) or b"0")
        except (OSError, ValueError) as error:
            raise self._death() from error
        if answer == 0:
            raise self._death()
        if answer < 0:
            raise OSError(-answer, os.strerror(-answer))
        return _Forked(answer)

    def _start(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(_PATIENCE_SECONDS)
        with theirs:
            log = self._log.fileno()
            return _started(self._command, self._folder, (theirs.fileno(), log, log), {}), ours

    def _death(self) -> RunnerDiedError:
        self._end()
        logger.warning("the nursery starts no runner; its log: %s", last_words(self._log))
        return RunnerDiedError(COULD_NOT_START)

    def _end(self) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait()


def last_words(log: IO[bytes]) -> str:
    """Return the end of what a process wrote, as far as it helps."""
    start = max(0, os.fstat(log.fileno()).st_size - _LOGGED_BYTES)
    return os.pread(log.fileno(), _LOGGED_BYTES, start).decode(errors="replace")


def folders_of(folder: Path) -> Mapping[str, str]:
    """Return what tells libraries to write nowhere but in ``folder``."""
    home = str(folder)
    # Without the last, Keras obeys, and writes, a file in the worker's home.
    return {"HOME": home, "TMPDIR": home, "KERAS_HOME": home}


class _Forked:
    """A child that was not started by ``subprocess``."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._lock = threading.Lock()
        self._status: int | None = None

    def poll(self) -> int | None:
        with self._lock:
            if self._status is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self._status = os.waitstatus_to_exitcode(status)
            return self._status

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(RUNNER, timeout or 0.0)
            time.sleep(_LOOK_SECONDS)
        return status


def _started(
    command: Sequence[str], folder: Path, streams: Streams, more: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    stdin, stdout, stderr = streams
    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=folder,
        env={**_environment(folder), **more},
        # A Ctrl-C is for the worker, which then decides about its runners.
        start_new_session=True,
    )


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {
        **kept,
        **folders_of(folder),
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        # The spare and the running job share one GPU.
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        # It asks for a semaphore, which a confined process does not get, and complains.
        "JOBLIB_MULTIPROCESSING": "0",
        # HDF5 loads no plugins.
        "HDF5_PLUGIN_PRELOAD": "::",
        "PYTHONPATH": str(_ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
