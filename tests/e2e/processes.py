"""The processes that this test run has started, as /proc shows them."""

import os
from pathlib import Path

from worker.spawning import RUNNER


def descendants() -> list[int]:
    """Return every process below this one, the oldest first."""
    everybody = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
    return sorted((pid for pid in everybody if _is_below(os.getpid(), pid)), key=_started)


def runners() -> list[int]:
    """Return the runners below this process, the oldest first: it is the one that trains."""
    return [pid for pid in descendants() if _name(pid) == RUNNER]


def running(word: str) -> list[int]:
    """Return the processes below this one with ``word`` in their command line, the oldest first."""
    return [pid for pid in descendants() if word.encode() in _command(pid)]


def is_alive(pid: int) -> bool:
    """Whether the process exists and is more than a zombie."""
    fields = _fields(pid)
    return fields is not None and fields[0] != "Z"


def _is_below(ancestor: int, pid: int) -> bool:
    while (fields := _fields(pid)) is not None and pid > 1:
        pid = int(fields[1])
        if pid == ancestor:
            return True
    return False


def _started(pid: int) -> int:
    fields = _fields(pid)
    return 0 if fields is None else int(fields[19])


def _fields(pid: int) -> list[str] | None:
    """Return what /proc/PID/stat says from the state on; ``None`` when the process is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses can hold spaces; what follows it cannot.
    return stat.rpartition(")")[2].split()


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
