"""What holds for all tests."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Before anything imports TensorFlow, here or in a process that a test starts.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# How long an example takes says nothing on a machine that others use too.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# Scripts that make files, each run on purpose; looking for doctests in them would run them.
collect_ignore_glob = ["**/make_*.py"]

_TESTS = Path(__file__).parent
#: Their tests share services, which they start once.
_TOGETHER = frozenset({"browser", "e2e"})


# Before pytest-xdist reads the marks.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Keep together, when there are several processes of tests, what shares its fixtures."""
    for item in items:
        place = item.path.relative_to(_TESTS).parts if item.path.is_relative_to(_TESTS) else ()
        group = place[0] if _TOGETHER.intersection(place) else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
