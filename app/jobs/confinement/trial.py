"""What confinement holds on this machine: a process confines itself, and tries what it may not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from app.jobs.confinement.process import LEAST_LANDLOCK, Confinement, Reach, confine

_COMMAND = (sys.executable, "-P", "-m", "app.jobs.confinement.trial")
_SOURCES = Path(__file__).parents[3]


class UnconfinedError(Exception):
    """This machine cannot confine who opens uploaded files as the operator demands."""


def ascertain(*, production: bool) -> Confinement:
    """Return what holds here, once it is known to be enough.

    Raises:
        UnconfinedError: something is missing, in production; or nothing confined would start.
    """
    confinement = tried()
    if production:
        require_complete(confinement)
    return confinement


def tried() -> Confinement:
    """Return what holds here, for every process that is confined.

    Raises:
        UnconfinedError: the kernel refused what it said it can do, so that nothing would start.
    """
    environment = os.environ | {"PYTHONPATH": str(_SOURCES)}
    trial = subprocess.run(_COMMAND, env=environment, capture_output=True, text=True, check=False)
    if trial.returncode != 0:
        message = f"a process could not be confined: {trial.stderr.strip()[-2000:]}"
        raise UnconfinedError(message)
    return Confinement(**json.loads(trial.stdout))


def require_complete(confinement: Confinement) -> None:
    """Return where nothing is missing.

    Raises:
        UnconfinedError: something is.
    """
    if not confinement.is_complete:
        message = (
            "in production, uploaded files must be opened where the kernel has seccomp and "
            f"Landlock {LEAST_LANDLOCK} or later (Linux 6.2). Received: {confinement}"
        )
        raise UnconfinedError(message)


def _try() -> Confinement:
    claimed = confine(Reach(readable=()))
    return Confinement(
        landlock=claimed.landlock if _is_refused(Path(__file__).read_bytes) else 0,
        seccomp=_is_refused(socket.socket),
    )


def _is_refused(act: Callable[[], object]) -> bool:
    try:
        act()
    except OSError:
        return True
    return False


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(_try())))
