"""The application over HTTP, on a real database, real files and real static checks."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.api.application import create_app
from app.api.backends import Backends
from app.api.services import Services, services_for
from app.jobs.artifacts import StoredArtifact, artifact_key
from app.jobs.errors import BackendUnavailableError
from app.jobs.history import HistoryChunk
from app.jobs.intake.model import summarise_model
from app.jobs.job import Failure, FileRef, Job, Progress, Stage
from app.jobs.lanes import Lane
from app.jobs.result import JobResult, ParameterCounts, Uploaded
from app.jobs.spec import JobSpec
from app.jobs.tenants import LOCAL
from app.jobs.uploads import StoredModel
from app.main import open_backends
from app.settings import Settings

DATA = Path(__file__).parents[2] / "data"
LEASE = timedelta(minutes=1)


@dataclass
class RecordingDoorbell:
    """Remembers for which jobs it was rung, unless it is out of order."""

    rung: list[str]
    is_broken: bool = False

    def ring(self, job_id: str, _lane: Lane) -> None:
        if self.is_broken:
            message = "the broker does not answer"
            raise BackendUnavailableError(message)
        self.rung.append(job_id)

    def is_reachable(self) -> bool:
        return not self.is_broken


class Caller(TestClient):
    """A client that posts forms the way curl does, and says in words how a job is made."""

    def submit(self, model=None, data=None, spec=None, *, path="/v1/jobs", **headers):
        """Post a form; a part that is ``None`` is left out."""
        files = [
            (name, (filename, content))
            for name, filename, content in (
                ("model", "model.keras", model),
                ("data", "train.npz", data),
                ("spec", None, None if spec is None else json.dumps(spec)),
            )
            if content is not None
        ]
        return self.post(path, files=files, headers=headers)


@pytest.fixture
def doorbell():
    return RecordingDoorbell([])


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(data_dir=tmp_path, max_model_bytes=100_000, max_dataset_bytes=200_000)


@pytest.fixture
def backends(settings, doorbell) -> Iterator[Backends]:
    with open_backends(settings) as backends:
        yield replace(backends, doorbell=doorbell)


@pytest.fixture
def services(backends) -> Services:
    """What the endpoints work with when nobody is asked for a key."""
    return services_for(backends, LOCAL)


@pytest.fixture
def client(backends) -> Iterator[Caller]:
    with opened_for(backends) as client:
        yield client


@pytest.fixture
def calling():
    """Return a function that opens the application for a caller with headers of its own."""
    return opened_for


@contextmanager
def opened_for(backends, *, base_url="http://127.0.0.1:8000", **headers) -> Iterator[Caller]:

    @contextmanager
    def opened():
        yield backends

    with Caller(
        create_app(opened),
        base_url=base_url,
        headers=headers,
        raise_server_exceptions=False,
    ) as client:
        yield client


@pytest.fixture(scope="session")
def model() -> bytes:
    """Eight features in, four classes out; compiled; made by ``make_small_keras.py``."""
    return (DATA / "small.keras").read_bytes()


@pytest.fixture(scope="session")
def data() -> bytes:
    """A thousand samples to train on, fifty to test on."""
    return npz()


def npz(**arrays) -> bytes:
    """Return a dataset that fits ``model``, with ``arrays`` instead of its own."""
    chance = np.random.default_rng(0)
    fitting = {
        "x_train": chance.random((1000, 8), "float32"),
        "y_train": chance.integers(0, 4, 1000),
        "x_test": chance.random((50, 8), "float32"),
        "y_test": chance.integers(0, 4, 50),
    }
    file = io.BytesIO()
    np.savez(file, **{**fitting, **arrays})
    return file.getvalue()


@pytest.fixture(scope="session")
def summary():
    """What the static check says of ``model``."""
    return summarise_model(DATA / "small.keras")


@pytest.fixture
def job(client, services, model, summary):
    """A queued job without data, as if its model had come with it."""
    ref = FileRef(id="mdl_1", filename="m.keras", bytes=len(model), sha256="0" * 64)
    now = datetime.now(UTC)
    job = Job(id="job_1", created_at=now, model=ref, spec=JobSpec())
    key = "models/mdl_1/model.keras"
    services.files.put(key, DATA / "small.keras")
    services.store.add_model(
        StoredModel(ref=ref, key=key, created_at=now, summary=summary, uploaded_with=job.id)
    )
    services.store.submit(job)
    return client.get(f"/v1/jobs/{job.id}").json()


@pytest.fixture
def worker(backends, tmp_path):
    """What a worker does to a job, without pruning anything."""
    return Worker(backends, tmp_path)


@dataclass(frozen=True)
class Worker:
    """Moves jobs the way a worker does."""

    backends: Backends
    folder: Path

    def claim(self, job_id):
        return self.backends.store.claim(job_id, worker="w", lease=LEASE)

    def train(self, claim):
        self.backends.store.record(
            claim,
            stage=Stage.FINE_TUNING,
            progress=Progress(
                step=1, total_steps=2, epoch=1, epochs=1, sparsity=0.5, eta_seconds=None
            ),
            history=[HistoryChunk(scope="step", columns={"step": (1, 2), "loss": (0.5, 0.25)})],
        )

    def succeed(self, job_id, content=b"0123456789", *, claim=None, **found_out):
        claim = claim or self.claim(job_id)
        file = self.folder / "pruned"
        file.write_bytes(content)
        key = artifact_key(job_id, claim.fence, "model.keras")
        self.backends.files.put(key, file)
        artifact = StoredArtifact(
            name="model.keras",
            key=key,
            format="keras",
            bytes=len(content),
            sha256=sha256(content).hexdigest(),
        )
        result = {
            "baseline": None,
            "pruned": None,
            "evaluated_on": None,
            "sparsity": 0.8,
            "uploaded": Uploaded(bytes=10, bytes_without_optimizer=5),
            "parameters": ParameterCounts(total=212, prunable=192, nonzero=58),
            "layers": (),
            "artifacts": (),
        }
        self.backends.store.succeed(claim, JobResult(**result | found_out), [artifact])

    def fail(self, job_id):
        failure = Failure(code="runner_died", message="It died.", hint="Try again.")
        self.backends.store.fail(self.claim(job_id), failure)
