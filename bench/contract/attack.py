"""One run of Schemathesis, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

_ROOT = Path(__file__).parents[2]
_CONFIG = Path(__file__).with_name("schemathesis.toml")

_PATIENCE_SECONDS = "600"

PHASES = "examples,coverage,fuzzing,stateful"

#: Ids by the names of parameters: under ``kept`` those that are asked for, and under ``doomed``
#: those that may be deleted.
There: TypeAlias = Mapping[str, Mapping[str, Sequence[str]]]


def attack(  # noqa: PLR0913  (what is attacked, and how)
    url: str, key: str, there: There, *, seed: int, examples: int, phases: str = PHASES
) -> int:
    """Send what the description of the service at ``url`` allows, and what it does not.

    Args:
        url: Of the API.
        key: That opens it.
        there: What there is to ask for.
        seed: Of all that is made up.
        examples: How many are made up for each operation in a phase, at most.
        phases: Which of Schemathesis' own.

    Returns:
        The exit status: 0 where nothing was found. What was found is printed.
    """
    command = (
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(_CONFIG), "run"),
        *(f"{url}/openapi.json", "--checks", "all", "--seed", str(seed), "--no-color"),
        *("--max-examples", str(examples), "--header", f"Authorization: Bearer {key}"),
        # Who sends files in pieces names the protocol in every call.
        *("--header", "Tus-Resumable: 1.0.0", "--phases", phases),
        # How long an answer takes says nothing on a machine that others use too.
        *("--request-timeout", _PATIENCE_SECONDS, "--max-response-time", _PATIENCE_SECONDS),
    )
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "bench.contract.hooks",
        "ESPALIER_CONTRACT": json.dumps(there),
        "PYTHONPATH": str(_ROOT),
    }
    # It keeps what it has seen in the folder that it runs in.
    with TemporaryDirectory(prefix="contract-") as folder:
        return subprocess.run(command, env=environment, cwd=folder, check=False).returncode
