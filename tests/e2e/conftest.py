"""The real service, once for all end-to-end tests: API, worker, broker, each a process."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from app.local import running_service
from tests.e2e.calls import ROOT
from tests.e2e.processes import descendants, is_alive


@pytest.fixture(scope="package")
def files(tmp_path_factory) -> Path:
    """Folder with every model and dataset of these tests."""
    folder = tmp_path_factory.mktemp("files")
    subprocess.run(
        [sys.executable, "-m", "tests.e2e.make_models", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    for name in ("keras2_cnn.h5", "keras2_recurrent.h5"):
        shutil.copy(ROOT / "tests" / "data" / name, folder)
    return folder


@pytest.fixture(scope="package")
def address(tmp_path_factory) -> Iterator[str]:
    """Address of the running service."""
    with pytest.MonkeyPatch.context() as environment:
        # No training here takes half a minute.
        environment.setenv("ESPALIER_CHECKPOINT_SECONDS", "0.5")
        # Nobody waits half a minute for a worker that was killed.
        environment.setenv("ESPALIER_LEASE_SECONDS", "10")
        yield from _serve(tmp_path_factory)


def _serve(tmp_path_factory) -> Iterator[str]:
    with running_service(tmp_path_factory.mktemp("data")) as address:
        yield address
        started = descendants()
    assert not [pid for pid in started if is_alive(pid)], "the service left processes behind"


@pytest.fixture(scope="package")
def client(address) -> Iterator[httpx2.Client]:
    """Client of the running service."""
    with httpx2.Client(base_url=address, timeout=60) as client:
        yield client
