"""The peer: the TensorFlow Model Optimization Toolkit (TFMOT), which prunes models of ``tf_keras``.

It cannot prune what Keras 3 makes, so it lives in ``.venv-peer``, made from
``requirements/peer.txt`` at the first use and reused while that file stays as it is. The modules
of this package run there and nowhere else; what they share with this side of ``bench`` imports no
Keras. Weights go between Keras 3 and ``tf_keras`` as a list of arrays, in the order of
``model.weights``, in one npz file (``save_arrays``, ``load_arrays``).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_ROOT = Path(__file__).parents[2]
_ENVIRONMENT = _ROOT / ".venv-peer"
_LOCK = _ROOT / "requirements" / "peer.txt"


def run(script: str, *arguments: str) -> Any:
    """Run the module ``bench.peer.<script>`` in the peer's environment; return what it answers.

    Args:
        script: Name of the module.
        arguments: Its command line.

    Returns:
        The last line it printed, read as JSON. Its standard error is this process's.

    Raises:
        CalledProcessError: it failed.
    """
    answer = subprocess.run(
        _command(script, arguments),
        cwd=_ROOT,
        env=_variables(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(answer.stdout.splitlines()[-1])


class Peer:
    """A module of the peer that goes on running and answers requests, see ``talking_to``."""

    def __init__(self, requests: IO[str], answers: IO[str]) -> None:
        """Speak through these pipes."""
        self._requests = requests
        self._answers = answers

    def ask(self, request: Any) -> Any:
        """Send ``request`` and wait for the answer; both are JSON, a line each.

        Raises:
            ConnectionError: the module ended without an answer.
        """
        self._requests.write(json.dumps(request) + "\n")
        self._requests.flush()
        line = self._answers.readline()
        if not line:
            message = f"the peer must answer. Received: its end, after {request}"
            raise ConnectionError(message)
        return json.loads(line)


@contextmanager
def talking_to(script: str, *arguments: str) -> Generator[Peer]:
    """Run the module ``bench.peer.<script>``, which answers requests, while a ``with`` lasts.

    It reads ``requests`` and prints each ``answer``, and nothing else.
    """
    with subprocess.Popen(
        _command(script, arguments),
        cwd=_ROOT,
        env=_variables(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Peer(process.stdin, process.stdout)
        finally:
            process.stdin.close()
            process.terminate()


def requests() -> Iterator[Any]:
    """Yield what the other side asks, until it asks no more; for the modules of the peer."""
    for line in sys.stdin:
        yield json.loads(line)


def answer(value: Any) -> None:
    """Answer the other side: one line of JSON; for the modules of the peer."""
    print(json.dumps(value), flush=True)


def save_arrays(path: Path, arrays: Sequence[NDArray[Any]]) -> None:
    """Write ``arrays``, in their order, to an npz file."""
    np.savez(path, *arrays)


def load_arrays(path: Path) -> list[NDArray[Any]]:
    """Return what ``save_arrays`` wrote."""
    with np.load(path) as stored:
        return [stored[f"arr_{position}"] for position in range(len(stored.files))]


def _command(script: str, arguments: Sequence[str]) -> list[str]:
    return [str(_python()), "-m", f"bench.peer.{script}", *arguments]


def _variables() -> dict[str, str]:
    return os.environ | {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}


def _python() -> Path:
    """Return the interpreter of the peer's environment, which is made if it is not there."""
    python = _ENVIRONMENT / "bin" / "python"
    stamp = _ENVIRONMENT / "peer.txt"
    if not stamp.is_file() or stamp.read_bytes() != _LOCK.read_bytes():
        print("Setting up .venv-peer, the environment of TFMOT.", file=sys.stderr)
        _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(_ENVIRONMENT))
        # The lock file is complete; asked to resolve, uv would want `tensorflow` beside
        # `tensorflow-cpu`, with the same files inside.
        _uv(
            *("pip", "install", "--quiet", "--system-certs", "--require-hashes", "--no-deps"),
            *("--python", str(python), "-r", str(_LOCK)),
        )
        shutil.copy(_LOCK, stamp)
    return python


def _uv(*arguments: str) -> None:
    subprocess.run([str(Path(sys.executable).with_name("uv")), *arguments], check=True)
