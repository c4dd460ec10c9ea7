import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest


@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="Keras distributes nothing on PyTorch"
)
def test_two_devices_give_the_masks_and_within_rounding_the_weights_of_one():
    two_devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}

    done = subprocess.run(
        [sys.executable, "-m", "tests.pruning_core.two_devices"],
        cwd=Path(__file__).parents[2],
        env=os.environ | two_devices,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
