import subprocess
import sys

import pytest

import pruning_core


@pytest.mark.parametrize(
    "module", ["", ".schedule", ".catalogue", ".errors", ".tfmot", ".decision", ".allocation"]
)
def test_settings_and_arithmetic_load_no_keras(module):
    code = (
        f"import sys, pruning_core{module}; "
        "assert not {'keras', 'tensorflow', 'h5py'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


def test_everything_that_is_promised_is_there():
    for name in pruning_core.__all__:
        assert getattr(pruning_core, name).__module__.startswith("pruning_core.")
        assert name in dir(pruning_core)


def test_what_is_not_promised_is_not_there():
    with pytest.raises(AttributeError, match="no attribute 'compress'"):
        _ = pruning_core.compress
