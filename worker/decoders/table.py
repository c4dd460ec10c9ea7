"""Samples of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from app.jobs.intake.table import Block, open_table
from app.jobs.reading import Decoding, Field
from worker.data import Array
from worker.decoders.decoded import Decoded, as_labels


def decoded(path: Path, plan: Decoding) -> Iterator[Decoded]:
    """Yield the rows of the CSV file at ``path``, by the block."""
    with open_table(path) as table:
        for block in table.blocks():
            inputs = tuple(_values(block, field, table.names) for field in plan.inputs)
            yield Decoded("train", inputs, _labels(block, plan, table.names))


def _values(block: Block, field: Field, names: Sequence[str]) -> Array:
    places = [names.index(source) for source in field.sources]
    return block.numbers[:, places].reshape(-1, *field.shape).astype(field.dtype)


def _labels(block: Block, plan: Decoding, names: Sequence[str]) -> Array | None:
    field = plan.label
    if field is None:
        return None
    [name] = field.sources
    if name in block.texts:
        number_of = {text: number for number, text in enumerate(plan.arrays.classes)}
        values = np.array([number_of[text] for text in block.texts[name]])
    else:
        values = block.numbers[:, names.index(name)]
    is_categorical = plan.reading.label_mode == "categorical"
    return as_labels(values, field, is_categorical=is_categorical)
