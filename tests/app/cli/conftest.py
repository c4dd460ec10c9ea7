import pytest
from typer.testing import CliRunner

from app.cli import app


@pytest.fixture
def espalier(served, monkeypatch, tmp_path):
    """Return a function that runs the command line in an empty folder, against the service."""
    monkeypatch.setenv("ESPALIER_URL", served.address)
    monkeypatch.chdir(tmp_path)

    def run(*arguments, **options):
        return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)

    return run
