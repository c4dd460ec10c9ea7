"""The formats in which a pruned model can be had, and the names of their files."""

from typing import Literal

ArtifactFormat = Literal[
    "keras",
    "keras_compact",
    "litert",
    "litert_fp16",
    "litert_int8",
    "litert_sparse",
    "onnx",
    "saved_model",
    "weights",
    "weights_int8",
]

#: What the file of each format is called; no two have the same name.
FILE_NAMES: dict[ArtifactFormat, str] = {
    "keras": "model.keras",
    "keras_compact": "model.compact.keras",
    "litert": "model.tflite",
    "litert_fp16": "model.fp16.tflite",
    "litert_int8": "model.int8.tflite",
    "litert_sparse": "model.sparse.tflite",
    "onnx": "model.onnx",
    "saved_model": "saved_model.zip",
    "weights": "model.espw",
    "weights_int8": "model.int8.espw",
}

#: Files that have every weight of the uploaded model, those of filters that are zero too.
WITH_ALL_WEIGHTS: frozenset[ArtifactFormat] = frozenset({"keras", "weights", "weights_int8"})

Encoding = Literal["gzip", "xz", "zstd"]

#: What the name of a file gets when it is kept compressed, for who takes it so.
SUFFIXES: dict[Encoding, str] = {"gzip": ".gz", "xz": ".xz", "zstd": ".zst"}
