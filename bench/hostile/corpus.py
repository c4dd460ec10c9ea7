"""Everything that nobody should send, and a few things that anybody may."""

from __future__ import annotations

from collections.abc import Iterator

from bench.hostile import configurations, containers, datasets, specs, weights
from bench.hostile.case import Case, Expected
from bench.hostile.originals import Originals
from bench.hostile.planted import Planted


def corpus(originals: Originals, planted: Planted) -> Iterator[Case]:
    """Yield every case that is made without Keras; no two have one name."""
    yield Case(name="the model as .keras", model=originals.keras, expected=Expected.SUCCESS)
    yield Case(name="the model as HDF5", model=originals.h5, expected=Expected.SUCCESS)
    yield from containers.cases(originals, planted)
    yield from configurations.cases(originals, planted)
    yield from weights.cases(originals, planted)
    yield from datasets.cases(originals, planted)
    yield from specs.cases()
