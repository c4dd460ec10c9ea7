"""The network before it was pruned, as far as time can tell: the same one, with no weight zero."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from worker.models import load_model


def load_dense(path: Path) -> keras.Model:
    """Open a pruned model with no weight zero, see ``fill_zeros``.

    Raises:
        RefusedError: Keras cannot open it.
    """
    model = load_model(path)
    fill_zeros(model)
    return model


def fill_zeros(model: keras.Model) -> None:
    """Give every weight of a kernel that is zero another value, of the size of its neighbours.

    What a runtime does, and for how long, depends on shapes and, where it skips zeros, on where
    they are; not on the values.
    """
    generator = np.random.default_rng(0)
    for variable in model.weights:
        values = keras.ops.convert_to_numpy(variable)
        if values.ndim < 2 or values.all() or values.dtype.kind != "f":  # noqa: PLR2004
            continue
        scale = np.float32(max(float(values.std()), 1e-3))
        noise = generator.standard_normal(values.shape, np.float32) * scale
        variable.assign(np.where(values == 0, noise, values).astype(values.dtype))
