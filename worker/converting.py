"""The order ``convert``: write the verified file in other formats."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import functools
import gc
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import keras

from app.jobs.formats import FILE_NAMES, ArtifactFormat
from app.jobs.job import Stage
from worker.data import Array, read_dataset
from worker.dense import load_dense
from worker.feeding import Feeder, input_names
from worker.formats.graph import Source
from worker.formats.table import FORMATS
from worker.messages import (
    Converted,
    ConvertOrder,
    FileFailed,
    FileWritten,
    StageBegun,
    Update,
    dense_name,
)
from worker.models import first_line, load_model

#: From which int8 learns how large the numbers in the model become.
_MOST_SAMPLES = 200
_MOST_BYTES = 64 * 2**20


def convert(order: ConvertOrder, report: Callable[[Update], None]) -> Converted:
    """Carry out the order; what cannot be written is reported, and the next format is tried."""
    report(StageBegun(stage=Stage.EXPORTING))
    with TemporaryDirectory() as folder:
        sources = _sources(order, Path(folder))
        for form in order.formats:
            gc.collect()  # models lead in circles, and converters need the memory of a large one
            try:
                remarks = _write(sources, form, order.folder)
            except Exception as error:  # noqa: BLE001  (converters raise whatever they meet)
                report(FileFailed(format=form, fault=f"its converter says: {first_line(error)}"))
            else:
                report(FileWritten(format=form, remarks=remarks))
    return Converted()


def _sources(order: ConvertOrder, folder: Path) -> tuple[Source, Source]:
    """Return the pruned network, and the same with no weight zero."""
    model = load_model(order.model)
    config = order.spec.pruning_config()
    twin_of = functools.partial(Source.of, model, config, samples=_samples(order, model))
    pruned = twin_of(folder / "pruned", load=functools.partial(load_model, order.model))
    return (
        dataclasses.replace(pruned, is_compacted=config.prunes_filters),
        twin_of(folder / "dense", load=functools.partial(load_dense, order.model)),
    )


def _write(sources: tuple[Source, Source], form: ArtifactFormat, folder: Path) -> tuple[str, ...]:
    pruned, dense = sources
    if twin := dense_name(form):
        FORMATS[form].write(dense, folder / twin)
        gc.collect()
    return FORMATS[form].write(pruned, folder / FILE_NAMES[form])


def _samples(order: ConvertOrder, model: keras.Model) -> tuple[Array, ...] | None:
    """Return training samples as the model takes them."""
    if order.dataset is None:
        return None
    training = order.spec.training
    feeder = Feeder.of(model, order.spec.preprocessing, batch_size=training.batch_size)
    train = read_dataset(
        order.dataset,
        inputs=input_names(model),
        validation_split=training.validation_split or 0.0,
    ).train
    one = keras.tree.flatten(feeder.accept(train.between(0, 1).inputs))
    most = max(1, min(_MOST_SAMPLES, _MOST_BYTES // max(1, sum(array.nbytes for array in one))))
    return tuple(keras.tree.flatten(feeder.accept(train.between(0, most).inputs)))
