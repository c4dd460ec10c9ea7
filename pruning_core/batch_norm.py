"""Batch normalisation, measured anew: pruning changes what reaches it."""

# What is inherited from Keras has no type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


def recalibrate(model: keras.Model, batches: Iterable[Any]) -> None:
    """Set the means and variances that ``model`` normalises by to those of ``batches``.

    Batches count by their sizes, and a variance is that of all samples together. The model runs
    as it does in training (dropout drops), but learns nothing; what is frozen stays as it is.

    Args:
        model: Built; with or without batch normalisation.
        batches: Inputs as ``model`` takes them, without labels. Without a batch nothing changes.
    """
    layers = [layer for layer in model._flatten_layers() if _is_measured(layer)]  # noqa: SLF001
    if not layers:
        return
    sizes: list[int] = []
    moments: list[NDArray[np.float64]] = []
    with _only_the_last_batch_counts(layers):
        for batch in batches:
            model(batch, training=True)
            sizes.append(keras.tree.flatten(batch)[0].shape[0])
            moments.append(np.concatenate([_mean_and_square(layer) for layer in layers], axis=1))
    if not sizes:
        return
    averages = np.average(moments, axis=0, weights=sizes)
    ends = np.cumsum([layer.moving_mean.shape[0] for layer in layers])
    for layer, (mean, square) in zip(layers, np.split(averages, ends[:-1], axis=1), strict=True):
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(square - np.square(mean))


def _is_measured(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization) and bool(layer.trainable)


@contextmanager
def _only_the_last_batch_counts(layers: Sequence[keras.layers.Layer]) -> Generator[None]:
    usual = [layer.momentum for layer in layers]
    try:
        for layer in layers:
            layer.momentum = 0.0
        yield
    finally:
        for layer, momentum in zip(layers, usual, strict=True):
            layer.momentum = momentum


def _mean_and_square(layer: keras.layers.Layer) -> NDArray[np.float64]:
    mean, variance = (
        keras.ops.convert_to_numpy(moment).astype(np.float64)
        for moment in (layer.moving_mean, layer.moving_variance)
    )
    return np.stack([mean, variance + np.square(mean)])
