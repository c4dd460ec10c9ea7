"""Folders of workers, some of which are processes that get killed."""

import subprocess
import sys
from pathlib import Path

import pytest

from worker.workplace import remove_abandoned, workplace

_WORKER = """
import sys, time
from pathlib import Path
from worker.workplace import workplace
with workplace(Path(sys.argv[1])) as folder:
    (folder / "runner-1").mkdir()
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other(tmp_path):
    """Another worker, and its folder."""
    with subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_the_folder_of_a_worker_that_lives_is_left_alone(tmp_path, other):
    _, folder = other

    remove_abandoned(tmp_path)

    assert (folder / "runner-1").exists()


def test_the_folder_of_a_worker_that_was_killed_goes_with_all_that_is_in_it(tmp_path, other):
    process, folder = other
    process.kill()
    process.wait()

    remove_abandoned(tmp_path)

    assert not folder.exists()


def test_the_folder_of_a_worker_that_ends_well_goes_with_it(tmp_path):
    with workplace(tmp_path / "work") as folder:
        (folder / "runner-1").mkdir()
        with workplace(tmp_path / "work") as second:
            assert second != folder
        remove_abandoned(tmp_path / "work")
        assert (folder / "runner-1").exists()

    assert list((tmp_path / "work").iterdir()) == []
