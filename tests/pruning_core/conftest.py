"""Tiny models and data; Keras is imported by the tests that need it, not here."""

from pathlib import Path

import pytest

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    # Keras 3.15 reads TensorFlow variables by np.array(x), and TensorFlow 2.21 does not know
    # NumPy 2's copy keyword.
    keras_on_numpy_2 = "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings(keras_on_numpy_2))
