"""The tutorial, as a reader goes through it: files saved and commands run as they are printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.calls import ROOT

_TEXT = (ROOT / "docs" / "tutorial.md").read_text()
_SAVED = re.compile(r"[Ss]ave this as\s`(\S+?)`:\n\n```\w+\n(.*?)```", re.DOTALL)
_RUN = re.compile(r"```sh\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def gone_through(address, tmp_path_factory) -> tuple[Path, str]:
    """The reader's folder afterwards, and everything that was printed."""
    folder = tmp_path_factory.mktemp("tutorial")
    for name, content in _SAVED.findall(_TEXT):
        # The reader's service has the address that is the default.
        (folder / name).write_text(content.replace("http://127.0.0.1:8000", address))
    commands = "".join(_RUN.findall(_TEXT))
    completed = subprocess.run(
        ["bash", "-e", "-c", commands],  # noqa: S607
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ESPALIER_URL": address,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return folder, completed.stdout


def test_every_command_of_the_tutorial_works(gone_through):
    folder, said = gone_through

    assert re.search(r"kernel 90\.\d% zeros", said)
    assert (folder / "pruned" / "job.json").exists()
    assert (folder / "half" / "model.keras").exists()


def test_the_file_for_the_phone_is_small_and_right(gone_through):
    folder, said = gone_through
    right = int(re.search(r"On the phone, (\d+) of 360 digits", said).group(1))

    assert right > 320
    trained, for_the_phone = folder / "digits.keras", folder / "pruned" / "model.int8.tflite"
    assert for_the_phone.stat().st_size < trained.stat().st_size / 10
