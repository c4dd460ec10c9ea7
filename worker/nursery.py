"""The process that runners are forked from, on Linux: ``python -P -m worker.nursery``.

It imports TensorFlow and Keras once, which takes seconds, and a runner that is forked from it has
them at once. It computes nothing and opens nobody's file: what its runners share is what each would
have imported. The first that each does is to be confined to a folder of its own.

The worker asks by a socket, which is this process's stdin. A message is the path of the folder and
what the runner's environment is to have besides, as ``name=value``, with NUL between; and
three descriptors: what is to be stdin, stdout and stderr of the runner. The answer is its id.
Runners are the worker's children, and not this process's: it is the worker that hears of their end.
It ends when nobody holds the other end of the socket, and so with the worker.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.jobs.confinement import kernel
from app.jobs.confinement.process import confine_to
from worker import runner
from worker.spawning import RUNNER, folders_of

_MOST_BYTES = 8192  # of a path, and a little more
_STREAMS = (0, 1, 2)
_LOOK_SECONDS = 0.0005


def main() -> int:
    """Fork a runner whenever one is asked for, until nobody is there who could."""
    worker = os.getppid()
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as asked:
        # What is read from it from now on would be messages.
        os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
        runner.prepare()
        # What is there by now stays: collecting in a runner neither looks at it nor copies it.
        gc.freeze()
        while True:
            message, streams, _, _ = socket.recv_fds(asked, _MOST_BYTES, len(_STREAMS))
            if not message:
                return 0
            folder, *more = os.fsdecode(message).split("\0")
            # TensorFlow looks when it first computes, and here it never does.
            environment = dict(each.split("=", 1) for each in more)
            asked.send(_forked(Path(folder), environment, streams, worker))
            for stream in streams:
                os.close(stream)


def _forked(
    folder: Path, environment: Mapping[str, str], streams: Sequence[int], worker: int
) -> bytes:
    """Return the id of a new runner, or, with a minus, why there is none, as ``errno`` has it.

    Its parent here ends at once, and so it becomes a child of the worker, which sees to orphans.
    """
    told, tells = os.pipe()
    try:
        between = os.fork()
    except OSError as error:
        os.close(told)
        os.close(tells)
        return b"-%d" % error.errno
    if between == 0:
        _fork_and_end(folder, environment, streams, worker, tells)
    os.close(tells)
    with os.fdopen(told, "rb") as answer:
        os.waitpid(between, 0)
        return answer.read()


def _fork_and_end(
    folder: Path, environment: Mapping[str, str], streams: Sequence[int], worker: int, tells: int
) -> None:
    try:
        between = os.getpid()
        if pid := os.fork():
            os.write(tells, b"%d" % pid)
        else:
            while os.getppid() == between:
                time.sleep(_LOOK_SECONDS)
            os._exit(_run(folder, environment, streams, worker))
    except OSError as error:
        os.write(tells, b"-%d" % error.errno)
    finally:
        os._exit(0)


def _run(folder: Path, environment: Mapping[str, str], streams: Sequence[int], worker: int) -> int:
    """Become a runner; return the exit status."""
    try:
        kernel.die_with_parent(signal.SIGKILL)
        if os.getppid() != worker:
            return 1
        os.setsid()
        for stream, number in zip(streams, _STREAMS, strict=True):
            os.dup2(stream, number)
        # The socket of the nursery above all.
        os.closerange(len(_STREAMS), os.sysconf("SC_OPEN_MAX"))
        Path("/proc/self/comm").write_text(RUNNER)
        os.chdir(folder)
        os.environ.update({**folders_of(folder), **environment})
        tempfile.tempdir = None
        confine_to(folder)
        return runner.main()
    except BaseException:  # noqa: BLE001  (the last one there is)
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
