"""What holds for all tests."""

import os

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# Before anything imports TensorFlow, here or in a process that a test starts.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# How long an example takes says nothing on a machine that others use too.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# Scripts that make files, each run on purpose; looking for doctests in them would run them.
collect_ignore_glob = ["**/make_*.py"]

#: One after the other: they count and kill processes of services, or need the same port.
_NOT_AT_ONCE = (
    "tests/browser/",
    "tests/e2e/",
    "tests/app/jobs/test_queue.py",
    "tests/worker/test_main.py",
)


class _ByFile(LoadScopeScheduling):
    """Which of several processes runs a test: all those of a file run in the same one."""

    def _split_scope(self, nodeid):
        file = nodeid.partition("::")[0]
        return "services" if file.startswith(_NOT_AT_ONCE) else file


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """An S3 store of its own for each process that runs tests."""
    # Not before a test needs it: its packages take their time.
    from bench.servers import SeaweedFS

    with SeaweedFS.running(tmp_path_factory.mktemp("s3") / "log") as server:
        yield server


@pytest.fixture
def bucket_url(s3, monkeypatch):
    """URL of a bucket, which everything that this test starts finds."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return "s3://espalier"


def pytest_xdist_make_scheduler(config, log):
    """Make the scheduler, where there are several processes."""
    return _ByFile(config, log)
