import pytest

from app.client import Client


@pytest.fixture
def client(served):
    """A client of the service."""
    with Client(served.address) as client:
        yield client
