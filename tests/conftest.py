"""What holds for all tests."""

import os

from hypothesis import settings

# Before anything imports TensorFlow, here or in a process that a test starts.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# How long an example takes says nothing on a machine that others use too.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# Scripts that make files, each run on purpose; looking for doctests in them would run them.
collect_ignore_glob = ["**/make_*.py"]
