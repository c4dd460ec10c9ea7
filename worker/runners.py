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
import tempfile
import threading
import time
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from worker.errors import RunnerDiedError
from worker.messages import MAX_LINE_BYTES, Order, Ready, Report, line_of, report_of
from worker.spawning import COULD_NOT_START, Process, Spawn, last_words

logger = logging.getLogger(__name__)

_EXIT_SECONDS = 10.0
_CHUNK_BYTES = 1 << 16
#: From here on a model's weights are most of what a training holds. TensorFlow keeps what it has
#: freed, for the next time, in a form that fits what small networks need: of one with 207 million
#: weights, a training held 6.9 times the weights, and 5.9 times without. Smaller networks take up
#: to a fifth more processor time without: page by page, the kernel clears their memory anew.
_LARGE_BYTES = 1 << 28
_SPARING = {"TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "1"}
_HELD = re.compile(r"^Rss(?:Anon|Shmem):\s+(\d+) kB$", re.MULTILINE)


class Runner:
    """One runner process, from its start to its end.

    Args:
        folder: Where it gets a folder of its own: working directory, home, place of its log, of
            temporary files and of the files of its order. It can write nowhere else.
        spawn: Starts it.
        is_sparing: Whether it gives memory back to the system as soon as it can.

    Raises:
        RunnerDiedError: none can be started.
        OSError: there is no room for another one.
    """

    def __init__(self, folder: Path, *, spawn: Spawn, is_sparing: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        #: Its own; gone when it has ended.
        self.folder = Path(tempfile.mkdtemp(prefix="runner-", dir=folder))
        self._is_ready = False
        self._received = bytearray()
        # Held open: what is at its path later is the runner's word.
        self._log = (self.folder / "log").open("w+b")
        try:
            more = _SPARING if is_sparing else {}
            self._process, self._orders, self._reports = self._started(spawn, more)
        except BaseException:
            self._log.close()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._reports, selectors.EVENT_READ)

    def _started(self, spawn: Spawn, more: Mapping[str, str]) -> tuple[Process, FileIO, FileIO]:
        stdin, gives = os.pipe()
        receives, stdout = os.pipe()
        orders, reports = FileIO(gives, "wb"), FileIO(receives, "rb")
        streams = (stdin, stdout, self._log.fileno())
        try:
            return spawn(self.folder, streams, more), orders, reports
        except BaseException:
            orders.close()
            reports.close()
            raise
        finally:
            os.close(stdin)
            os.close(stdout)

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
            words = last_words(self._log)
            logger.warning("runner %d says nothing more; its log: %s", self.pid, words)
            return RunnerDiedError("The process that prunes the model stopped talking.")
        words = last_words(self._log)
        logger.warning("runner %d ended with %d; its log: %s", self.pid, status, words)
        return RunnerDiedError(_words(status, was_ready=self._is_ready))


def _size(path: Path) -> int:
    try:
        status = path.lstat()
    except FileNotFoundError:  # It was a temporary file.
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _words(status: int, *, was_ready: bool) -> str:
    if not was_ready:
        return COULD_NOT_START
    if status == -signal.SIGKILL:
        return (
            "The process that pruned the model was killed, most likely because it ran out of "
            "memory: try a smaller training.batch_size."
        )
    if status < 0:
        return f"The process that pruned the model crashed ({signal.Signals(-status).name})."
    return f"The process that pruned the model ended with an error of its own (status {status})."


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
        spawn: Starts a runner.
    """

    def __init__(self, folder: Path, *, spawn: Spawn) -> None:
        self._folder = folder
        self._spawn = spawn
        self._lock = threading.Lock()
        self._spare: Runner | None = None
        self._is_closed = False

    def take(self, *, weight_bytes: int) -> Runner:
        """Return the spare, or a new runner, and have another spare made ready.

        Args:
            weight_bytes: Of the model that it is for. Where they are many, it is a runner of
                another kind than the spare, which stays.

        Raises:
            RunnerDiedError: none can be started.
            OSError: there is no room for another one.
        """
        with self._lock:
            if weight_bytes >= _LARGE_BYTES:
                return self._start(is_sparing=True)
            runner, self._spare = self._living_spare() or self._start(), None
        # Whoever took this one does not wait until the next is forked.
        threading.Thread(target=self.mend, name="spare", daemon=True).start()
        return runner

    def mend(self) -> None:
        """Have a spare, unless there is no room for one."""
        with self._lock:
            self._spare = self._living_spare()
            if self._spare is None and not self._is_closed:
                try:
                    self._spare = self._start()
                except (OSError, RunnerDiedError) as error:
                    # Whoever needs a runner tries again; who keeps a spare must not fail by it.
                    logger.warning("no spare can be started: %s", error)

    def close(self) -> None:
        """End the spare and keep none any more."""
        with self._lock:
            self._is_closed = True
            if self._spare is not None:
                self._spare.end()
                self._spare = None

    def _living_spare(self) -> Runner | None:
        if self._spare is not None and not self._spare.is_alive:
            self._spare.end()
            return None
        return self._spare

    def _start(self, *, is_sparing: bool = False) -> Runner:
        return Runner(self._folder, spawn=self._spawn, is_sparing=is_sparing)
