"""The GPUs that this worker and its runners see, asked of the driver's own tool."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

from app.jobs.devices import Device

_QUERY = (
    "nvidia-smi",
    "--query-gpu=uuid,name,memory.used,memory.total",
    "--format=csv,noheader,nounits",
)
_ANSWER_SECONDS = 5.0


def visible_devices() -> tuple[Device, ...]:
    """Return the NVIDIA GPUs that ``CUDA_VISIBLE_DEVICES`` leaves, as they are now.

    There are none where the driver's ``nvidia-smi`` is missing or says so. The tool is asked and
    not CUDA: a process that opens a GPU takes some of its memory.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible == "":
        return ()
    chosen = () if visible is None else ("--id", visible)
    try:
        asked = subprocess.run(
            [*_QUERY, *chosen], capture_output=True, text=True, check=True, timeout=_ANSWER_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(_devices(asked.stdout))


def _devices(table: str) -> Iterator[Device]:
    for line in table.splitlines():
        match [field.strip() for field in line.split(",")]:
            case [uuid, name, used, total] if used.isdecimal() and total.isdecimal():
                yield Device(
                    id=uuid,
                    name=name,
                    used_bytes=int(used) * 2**20,
                    total_bytes=int(total) * 2**20,
                )
            case _:
                # A device that is lost says so in words.
                continue
