"""The demonstration, as `make demo` runs it."""

import os
import subprocess
import sys

from tests.e2e.calls import ROOT


def test_the_demonstration_ends_well_and_leaves_its_files(tmp_path):
    completed = subprocess.run(
        [sys.executable, "-m", "app.demo"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert "equal to the target to the last weight" in " ".join(completed.stdout.split())
    assert {path.name for path in (tmp_path / "demo-output").iterdir()} == {
        "digits-pruned.keras",
        "digits.keras",
        "digits.npz",
        "job.json",
    }
