import pytest

from espalier import Client
from tests.app.conftest import served

__all__ = ["served"]


@pytest.fixture
def client(served):
    """A client of the service."""
    with Client(served.address) as client:
        yield client
