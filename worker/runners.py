"""Runner processes, seen from the worker: started ahead of need, spoken to, ended."""

from __future__ import annotations

import logging
import os
import re
import selectors
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from worker.errors import RunnerDiedError
from worker.messages import MAX_LINE_BYTES, Order, Ready, Report, line_of, report_of

logger = logging.getLogger(__name__)

_COMMAND = (sys.executable, "-P", "-m", "app.jobs.confinement", "worker.runner")
_ROOT = Path(__file__).parent.parent
#: What a runner may know of the worker's environment: where programs and devices are.
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
_EXIT_SECONDS = 10.0
_CHUNK_BYTES = 1 << 16
_LOGGED_BYTES = 4000
_HELD = re.compile(r"^Rss(?:Anon|Shmem):\s+(\d+) kB$", re.MULTILINE)


class Runner:
    """One runner process, from its start to its end.

    It must be started by a thread that lives as long as the worker: the kernel ends the runner
    when that thread is gone.

    Args:
        folder: Where it gets a folder of its own: working directory, home, place of its log, of
            temporary files and of the files of its order. It can write nowhere else.
        command: What to start.
    """

    def __init__(self, folder: Path, *, command: Sequence[str] = _COMMAND) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        #: Its own; gone when it has ended.
        self.folder = Path(tempfile.mkdtemp(prefix="runner-", dir=folder))
        self._is_ready = False
        self._received = bytearray()
        # Held open: what is at its path later is the runner's word.
        self._log = (self.folder / "log").open("w+b")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=self.folder,
            env=_environment(self.folder),
            # A Ctrl-C is for the worker, which then decides about its runners.
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdin is not None, "it is a pipe"
        assert self._process.stdout is not None, "it is a pipe"
        self._orders = self._process.stdin
        self._reports = self._process.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._reports, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    def give(self, order: Order) -> None:
        """Hand over the one order.

        Raises:
            RunnerDiedError: there is nobody to take it.
        """
        try:
            self._orders.write(line_of(order))
        except BrokenPipeError as error:
            raise self._death() from error

    def ask_for_checkpoint(self) -> None:
        """Have the training written down after the step that it is at, and go on.

        Raises:
            RunnerDiedError: there is nobody who could.
        """
        try:
            self._orders.write(b"\n")
        except BrokenPipeError as error:
            raise self._death() from error

    def receive(self, *, timeout_seconds: float) -> Report | None:
        """Return the next report, or ``None`` when there is none in time.

        Raises:
            RunnerDiedError: there will be none any more.
        """
        line = self._next_line(time.monotonic() + timeout_seconds)
        if line is None:
            return None
        try:
            report = report_of(line)
        except ValidationError as error:
            message = "The process that prunes the model said something that is no report."
            raise RunnerDiedError(message) from error
        self._is_ready = self._is_ready or isinstance(report, Ready)
        return report

    @property
    def memory_bytes(self) -> int:
        """Memory that cannot be had back while the process lives; 0 where nobody knows.

        Files that are mapped, datasets for one, are not counted: the kernel drops what it needs.
        """
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return 0
        return sum(int(kib) * 1024 for kib in _HELD.findall(status))

    @property
    def written_bytes(self) -> int:
        """Bytes of the files in its folder, its log apart: they grow while it packs a large one."""
        log = self.folder / "log"
        files = (path for path in self.folder.rglob("*") if path != log)
        return sum(_size(path) for path in files)

    def end(self) -> None:
        """Kill the process, whatever it is doing, and remove its folder; once is enough."""
        if self._reports.closed:
            return
        _kill_group(self.pid)
        self._process.wait()
        self._selector.close()
        self._orders.close()
        self._reports.close()
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _next_line(self, deadline: float) -> bytes | None:
        while (end := self._received.find(b"\n")) < 0:
            if len(self._received) > MAX_LINE_BYTES:
                message = "The process that prunes the model reported without end."
                raise RunnerDiedError(message)
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                return None
            chunk = self._reports.read(_CHUNK_BYTES)
            if not chunk:
                raise self._death()
            self._received += chunk
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line

    def _death(self) -> RunnerDiedError:
        try:
            status = self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            logger.warning("runner %d says nothing more; its log: %s", self.pid, self._log_end())
            return RunnerDiedError("The process that prunes the model stopped talking.")
        logger.warning("runner %d ended with %d; its log: %s", self.pid, status, self._log_end())
        return RunnerDiedError(_words(status, was_ready=self._is_ready))

    def _log_end(self) -> str:
        log = self._log.fileno()
        start = max(0, os.fstat(log).st_size - _LOGGED_BYTES)
        return os.pread(log, _LOGGED_BYTES, start).decode(errors="replace")


def _size(path: Path) -> int:
    try:
        status = path.lstat()
    except FileNotFoundError:  # It was a temporary file.
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _words(status: int, *, was_ready: bool) -> str:
    if not was_ready:
        return "The process that prunes models could not start; the operator's log says why."
    if status == -signal.SIGKILL:
        return (
            "The process that pruned the model was killed, most likely because it ran out of "
            "memory: try a smaller training.batch_size."
        )
    if status < 0:
        return f"The process that pruned the model crashed ({signal.Signals(-status).name})."
    return f"The process that pruned the model ended with an error of its own (status {status})."


def _environment(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return kept | {
        "HOME": str(home),
        "TMPDIR": str(home),
        # Otherwise Keras obeys, and writes, a file in the worker's home.
        "KERAS_HOME": str(home),
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


def _kill_group(pid: int) -> None:
    # The runner leads a session of its own, so its group is what it started itself.
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


class RunnerPool:
    """Runners, one of them kept ready ahead of need; safe to share between threads.

    Args:
        folder: Below which runners have their folders.
        command: What a runner is.
    """

    def __init__(self, folder: Path, *, command: Sequence[str] = _COMMAND) -> None:
        self._folder = folder
        self._command = command
        self._lock = threading.Lock()
        self._spare: Runner | None = None
        self._keeps_spare = False

    def take(self) -> Runner:
        """Return the spare, or a new runner; no other spare is started before ``refill``.

        For a job's first seconds a second import of TensorFlow would take half of the machine.
        """
        with self._lock:
            self._keeps_spare = False
            spare, self._spare = self._spare, None
            if spare is not None and spare.is_alive:
                return spare
            if spare is not None:
                spare.end()
            return self._start()

    def refill(self) -> None:
        """Keep a spare from now on."""
        with self._lock:
            self._keeps_spare = True
        self.mend()

    def mend(self) -> None:
        """Replace a spare that has died, if there is room for another."""
        with self._lock:
            if not self._keeps_spare:
                return
            if self._spare is not None and not self._spare.is_alive:
                self._spare.end()
                self._spare = None
            if self._spare is None:
                try:
                    self._spare = self._start()
                except OSError as error:
                    # Whoever needs a runner tries again; who keeps a spare must not fail by it.
                    logger.warning("no spare can be started: %s", error)

    def close(self) -> None:
        """End the spare and keep none any more."""
        with self._lock:
            self._keeps_spare = False
            if self._spare is not None:
                self._spare.end()
                self._spare = None

    def _start(self) -> Runner:
        return Runner(self._folder, command=self._command)
