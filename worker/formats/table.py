"""Every format besides ``keras``: how it is written and opened, and how exact it is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.jobs.formats import ArtifactFormat
from worker.formats import by_keras, litert, onnx, saved_model, weights
from worker.formats.graph import Source
from worker.formats.opened import Opened
from worker.weighing import Stretch


@dataclass(frozen=True, kw_only=True)
class Format:
    """What is to be known of one format."""

    #: Writes the file, and returns what is particular about it in whole sentences.
    write: Callable[[Source, Path], tuple[str, ...]]
    #: Opens it by its own runtime, to compute on so many threads.
    open: Callable[[Path, int], Opened]
    #: Root mean square of its outputs' difference from the pruned model's, at most, where those of
    #: the pruned model have a root mean square of 1.
    tolerance: float
    #: What the numbers are that its file consists of.
    stretches: Callable[[Path], tuple[Stretch, ...]] = lambda _path: (Stretch(None, 4),)
    #: Whether the runtime lets each file choose its threads.
    has_threads: bool = True


FORMATS: dict[ArtifactFormat, Format] = {
    "keras_compact": Format(
        write=by_keras.write,
        open=lambda path, _threads: by_keras.KerasFile(path),
        tolerance=1e-5,
        has_threads=False,
    ),
    "litert": Format(
        write=functools.partial(litert.write, encoding="float32"),
        open=litert.LiteRtFile,
        tolerance=1e-4,
    ),
    "litert_fp16": Format(
        write=functools.partial(litert.write, encoding="float16"),
        open=litert.LiteRtFile,
        tolerance=1e-2,
        stretches=lambda _path: (Stretch(None, 2),),
    ),
    "litert_int8": Format(
        write=litert.write_int8,
        open=litert.LiteRtFile,
        tolerance=0.2,
        stretches=litert.int8_stretches,
    ),
    "litert_sparse": Format(
        write=functools.partial(litert.write, encoding="sparse"),
        open=litert.LiteRtFile,
        tolerance=1e-4,
    ),
    "onnx": Format(write=onnx.write, open=onnx.OnnxFile, tolerance=1e-4),
    "saved_model": Format(
        write=saved_model.write,
        open=lambda path, _threads: saved_model.SavedModelFile(path),
        tolerance=1e-5,
        has_threads=False,
    ),
    "weights": Format(
        write=functools.partial(weights.write, precision="float32"),
        open=lambda path, _threads: weights.WeightsFile(path),
        tolerance=1e-5,
        has_threads=False,
    ),
    "weights_int8": Format(
        write=functools.partial(weights.write, precision="int8"),
        open=lambda path, _threads: weights.WeightsFile(path),
        tolerance=0.2,
        has_threads=False,
    ),
}
