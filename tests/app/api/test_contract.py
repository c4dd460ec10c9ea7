"""The short form of ``bench.contract``: the API behind a real socket, without a worker."""

from dataclasses import replace

import pytest

from app.api.rates import RateLimit
from app.main import open_backends
from app.settings import Settings
from bench.contract.attack import attack
from bench.hostile.originals import originals
from tests.app.api.conftest import Caller, RecordingDoorbell, Worker, opened_for
from tests.app.conftest import listening

_EXAMPLES = 2


@pytest.fixture(scope="module")
def backends(tmp_path_factory):
    folder = tmp_path_factory.mktemp("contract")
    with open_backends(Settings(data_dir=folder)) as opened:
        yield replace(opened, doorbell=RecordingDoorbell([]), rate_limit=RateLimit(10**9))


@pytest.fixture(scope="module")
def key(backends):
    return backends.keys.create("ours")


@pytest.fixture(scope="module")
def there(backends, key, tmp_path_factory):
    """Everything that can be asked for."""
    worker = Worker(backends, tmp_path_factory.mktemp("worker"))
    with opened_for(backends, Authorization=f"Bearer {key}") as client:
        kept, doomed = (ids_of_new(client) for _ in range(2))
        worker.succeed(kept["job_id"])
        worker.fail(doomed["job_id"])
    return {
        "kept": {name: [each] for name, each in kept.items()} | {"name": ["model.keras"]},
        "doomed": {name: [each] for name, each in doomed.items()},
    }


def ids_of_new(client: Caller) -> dict[str, str]:
    model = client.post("/v1/models", files={"model": ("m", originals().keras)}).json()["id"]
    data = client.post("/v1/datasets", files={"data": ("d", originals().npz)}).json()["id"]
    job = client.post("/v1/jobs", json={"model_id": model}).json()["id"]
    return {"model_id": model, "dataset_id": data, "job_id": job}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_answer_is_as_described_whatever_is_asked(backends, key, there, seed):
    with listening(backends) as address:
        assert (
            attack(address, key, there, seed=seed, examples=_EXAMPLES, phases="fuzzing,stateful")
            == 0
        )
