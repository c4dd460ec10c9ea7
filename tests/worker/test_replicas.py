"""One training on several devices."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.jobs.spec import Training
from pruning_core.recipe import Distillation


def test_two_devices_give_the_masks_and_within_rounding_the_weights_of_one(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.worker.two_devices", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env=os.environ,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("training", "samples", "used"),
    [
        pytest.param({"batch_size": 128}, [60_000], 4, id="whole batches and a rest of 96"),
        pytest.param({"batch_size": 128}, [60_002], 2, id="a rest of 98"),
        pytest.param({"batch_size": 128}, [60_001], 1, id="an odd rest"),
        pytest.param({"batch_size": 129}, [1290], 3, id="batches of 3 times 43"),
        pytest.param({"batch_size": 128}, [1280, 13], 1, id="odd samples to validate on"),
        pytest.param({"batch_size": 8, "recalibrate": True}, [64], 1, id="recalibration"),
        pytest.param({"batch_size": 8, "distillation": Distillation()}, [64], 1, id="distillation"),
    ],
)
def test_as_many_devices_are_used_as_divide_every_batch(training, samples, used):
    from worker.data import Samples
    from worker.replicas import left_idle, usable

    devices = [f"/device:GPU:{number}" for number in range(4)]
    parts = [Samples((np.zeros((count, 0)),), np.zeros(count)) for count in samples]

    chosen = usable(devices, Training(**training), parts)

    assert list(chosen) == devices[:used]
    assert [notice.code for notice in left_idle(devices, chosen)] == ["devices_idle"] * (used < 4)
