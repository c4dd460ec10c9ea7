"""Masks in a file: a bit for each weight of the tensors that were pruned."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_masks(path: Path, tensors: Iterable[NDArray[Any]]) -> None:
    """Write which weights of ``tensors`` are not zero.

    The file is an ``.npz`` with an array for each tensor, named ``0``, ``1`` and so on in their
    order: ``np.packbits`` of its mask, in C order. Equal masks give equal bytes.
    """
    packed = {str(place): np.packbits(tensor != 0) for place, tensor in enumerate(tensors)}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **packed)
