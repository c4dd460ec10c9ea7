"""TFMOT's side of ``bench.size``: the files that its tutorial makes of pruned weights.

A request is a JSON object ``{"model", "weights"}``, an answer the bytes of each file, as written
and under ``gzip -9``, by the format of ours that it is held against. The recipe is the one of
TFMOT's Keras tutorials: a stripped model is saved as HDF5 without its optimizer, and converted by
TensorFlow Lite, with dynamic-range quantization for int8; both are then gzipped.
"""

# The packages are installed in the peer's environment alone.
# pyright: reportMissingModuleSource=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras

from bench import networks
from bench.peer import answer, load_arrays, requests

_NETWORKS: dict[str, Callable[[Any], Any]] = {
    "mnist_cnn": networks.mnist_cnn,
    # With the batch that LiteRT's recurrent layers want.
    "imdb_lstm": partial(networks.imdb_lstm, batch_size=1),
    "mobilenet": networks.mobilenet,
}


def main() -> None:
    """Answer requests."""
    for request in requests():
        model = _NETWORKS[request["model"]](keras)
        model.set_weights(load_arrays(Path(request["weights"])))
        stripped = tfmot.sparsity.keras.strip_pruning(model)
        files = {"keras": _saved(stripped), "litert_int8": _int8(stripped)}
        answer(
            {
                name: [len(content), len(gzip.compress(content, 9))]
                for name, content in files.items()
            }
        )


def _saved(model: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.h5")
        keras.models.save_model(model, path, include_optimizer=False)
        return path.read_bytes()


def _int8(model: Any) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter.convert()


if __name__ == "__main__":
    main()
