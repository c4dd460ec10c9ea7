"""The service behind a real socket, for whoever calls it over HTTP."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
import uvicorn

from app.api.application import create_app
from app.api.backends import Backends
from app.jobs.artifacts import StoredArtifact, artifact_key
from app.jobs.claims import Claim
from app.jobs.history import HistoryChunk
from app.jobs.ids import new_id
from app.jobs.intake.model import summarise_model
from app.jobs.job import Failure, FileRef, Job, Progress, Stage
from app.jobs.result import ArtifactResult, EvaluatedOn, JobResult, ParameterCounts, Uploaded
from app.jobs.spec import JobSpec
from app.jobs.tenants import LOCAL
from app.jobs.uploads import StoredModel
from app.main import open_backends
from app.settings import Settings
from tests.app.api.conftest import DATA, LEASE, RecordingDoorbell

_KEY = "models/mdl_small/model.keras"


@dataclass(frozen=True)
class Served:
    """A service without a worker, whose part a test does."""

    address: str
    backends: Backends
    folder: Path
    claims: dict[str, Claim] = field(default_factory=dict)

    def queue(self) -> str:
        """Store a job without data, as if it had been submitted; return its id."""
        model = FileRef(id="mdl_small", filename="small.keras", bytes=1, sha256="0" * 64)
        job = Job(id=new_id("job"), created_at=datetime.now(UTC), model=model, spec=JobSpec())
        self.backends.store.of(LOCAL, quota=self.backends.quota).submit(job)
        return job.id

    def train(self, job_id: str, *, steps: int = 3) -> None:
        """Claim the job and make ``steps`` of four steps."""
        claim = self._claim(job_id)
        for step in range(1, steps + 1):
            self.backends.store.record(
                claim,
                stage=Stage.FINE_TUNING,
                progress=Progress(
                    step=step,
                    total_steps=4,
                    epoch=1,
                    epochs=1,
                    sparsity=step / 5,
                    eta_seconds=4.0 - step,
                ),
                history=[
                    HistoryChunk(scope="step", columns={"step": (step,), "loss": (1 / step,)})
                ],
            )

    def succeed(self, job_id: str, content: bytes = b"0123456789") -> Path:
        """End the job with one file; return where the service keeps it."""
        claim = self._claim(job_id)
        file = self.folder / job_id
        file.write_bytes(content)
        key = artifact_key(job_id, claim.fence, "model.keras")
        self.backends.files.put(key, file)
        digest = sha256(content).hexdigest()
        stored = StoredArtifact(
            name="model.keras", key=key, format="keras", bytes=len(content), sha256=digest
        )
        self.backends.store.succeed(claim, _result(stored), [stored])
        return self.folder / "files" / key

    def fail(self, job_id: str) -> None:
        """End the job without a result."""
        failure = Failure(code="runner_died", message="It died.", hint="Try again.")
        self.backends.store.fail(self._claim(job_id), failure)

    def cancel(self, job_id: str) -> None:
        """Withdraw the job, as somebody else would."""
        self.backends.store.of(LOCAL, quota=self.backends.quota).request_cancel(job_id)

    def _claim(self, job_id: str) -> Claim:
        if job_id not in self.claims:
            claim = self.backends.store.claim(job_id, worker="w", lease=LEASE)
            assert claim is not None
            self.claims[job_id] = claim
        return self.claims[job_id]


@pytest.fixture(scope="session")
def served(tmp_path_factory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    settings = Settings(data_dir=folder, max_model_bytes=10**6, max_dataset_bytes=10**7)
    with open_backends(settings) as opened:
        backends = replace(opened, doorbell=RecordingDoorbell([]))
        _keep_model(backends)
        with listening(backends) as address:
            yield Served(address, backends, folder)


def _keep_model(backends: Backends) -> None:
    path = DATA / "small.keras"
    ref = FileRef(
        id="mdl_small", filename="small.keras", bytes=path.stat().st_size, sha256="0" * 64
    )
    backends.files.put(_KEY, path)
    backends.store.of(LOCAL, quota=backends.quota).add_model(
        StoredModel(
            ref=ref,
            key=_KEY,
            created_at=datetime.now(UTC),
            summary=summarise_model(path),
            uploaded_with=None,
        )
    )


@contextmanager
def listening(backends: Backends) -> Iterator[str]:
    """Serve with the real HTTP server, whose bodies come from sockets; yield its address."""

    @contextmanager
    def opened():
        yield backends

    config = uvicorn.Config(create_app(opened), log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    # It listens already: whoever connects before the server has started waits for it.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def _result(stored: StoredArtifact) -> JobResult:
    return JobResult(
        baseline={"loss": 0.03, "accuracy": 0.992},
        pruned={"loss": 0.04, "accuracy": 0.99},
        evaluated_on=EvaluatedOn(split="test", samples=360),
        sparsity=0.9,
        uploaded=Uploaded(bytes=3000, bytes_without_optimizer=1000),
        parameters=ParameterCounts(total=212, prunable=192, nonzero=39),
        layers=(),
        artifacts=(
            ArtifactResult(
                name=stored.name,
                format=stored.format,
                bytes=stored.bytes,
                compressed_bytes=stored.bytes,
                sha256=stored.sha256,
                verified=True,
                max_abs_error=0.0,
                metrics={"accuracy": 0.99},
                latency_ms=1.0,
            ),
        ),
    )
