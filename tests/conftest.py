"""What holds for all tests."""

import os

# Before anything imports TensorFlow, here or in a process that a test starts.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
