"""The GPUs of a worker, as it tells of them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Device(BaseModel):
    """One GPU, at one moment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str  #: The driver's own, for example ``GPU-8f2c…``: the same whatever process asks.
    name: str  #: For example ``NVIDIA L4``.
    used_bytes: int  #: By whichever processes.
    total_bytes: int
