"""A store on a real SQLite file or a real PostgreSQL; its clock stands still until told."""

import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from app.jobs.artifacts import StoredArtifact, artifact_key
from app.jobs.database import create_engine, migrate
from app.jobs.ids import new_id
from app.jobs.job import FileRef, Job, Progress
from app.jobs.result import JobResult, ParameterCounts, Uploaded
from app.jobs.spec import JobSpec
from app.jobs.store import Store
from app.jobs.tables import metadata
from app.jobs.tenant_store import TenantStore
from app.jobs.tenants import LOCAL
from app.jobs.uploads import DatasetSummary, ModelSummary, StoredDataset, StoredModel
from bench.servers import PostgreSQL

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
LEASE = timedelta(seconds=30)


@dataclass
class Clock:
    """The database's clock, in the hand of the test."""

    now: datetime = NOON

    def __call__(self, _connection):
        return self.now

    def advance(self, seconds):
        self.now += timedelta(seconds=seconds)


@dataclass
class Caller:
    """Whoever makes jobs: takes what a test cares about and invents the rest."""

    store: Store
    mine: TenantStore
    jobs_made: int = field(default=0)

    def add_model(self, **changes):
        ref = FileRef(id=new_id("mdl"), filename="model.keras", bytes=100, sha256="a" * 64)
        fields = {
            "ref": ref,
            "key": f"models/{ref.id}/model.keras",
            "created_at": NOON,
            "summary": _MODEL,
            "uploaded_with": None,
        }
        model = StoredModel(**fields | changes)
        self.mine.add_model(model)
        return model

    def add_dataset(self, **changes):
        ref = FileRef(id=new_id("dat"), filename="train.npz", bytes=100, sha256="b" * 64)
        fields = {
            "ref": ref,
            "key": f"datasets/{ref.id}/train.npz",
            "created_at": NOON,
            "summary": _DATASET,
            "uploaded_with": None,
        }
        dataset = StoredDataset(**fields | changes)
        self.mine.add_dataset(dataset)
        return dataset

    def new_job(self, **changes):
        """Return a job that is not submitted; each is a second younger than the one before."""
        model = None if "model" in changes else self.add_model().ref
        self.jobs_made += 1
        fields = {
            "id": new_id("job"),
            "created_at": NOON + timedelta(seconds=self.jobs_made),
            "model": model,
            "spec": JobSpec(),
        }
        return Job(**fields | changes)

    def submit(self, **changes):
        return self.mine.submit(self.new_job(**changes)).job

    def claimed(self, **changes):
        """Submit a job and claim it."""
        return self.store.claim(self.submit(**changes).id, worker="first", lease=LEASE)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    path = tmp_path_factory.mktemp("database") / "empty.sqlite"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A PostgreSQL of its own for each process that runs tests."""
    log = tmp_path_factory.mktemp("postgresql") / "log"
    with PostgreSQL.running(log, is_durable=False) as server:
        migrate(server.url)
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request):
    return request.param


@pytest.fixture
def new_url(kind, request, tmp_path):
    """Return a function that makes an empty database with tables, and forgets the one before."""

    def sqlite():
        file = tmp_path / "espalier.sqlite"
        file.unlink(missing_ok=True)
        shutil.copy(request.getfixturevalue("empty_database"), file)
        return f"sqlite:///{file}"

    def postgresql():
        server = request.getfixturevalue("server")
        _empty(server.url)
        return server.url

    return {"sqlite": sqlite, "postgresql": postgresql}[kind]


def _empty(url):
    """Delete every row; making the tables anew takes longer."""
    names = ", ".join(table.name for table in metadata.sorted_tables)
    with psycopg.connect(url) as connection:
        # The audit would refuse it.
        connection.execute("SET session_replication_role = replica")
        connection.execute(f"TRUNCATE {names} RESTART IDENTITY CASCADE")


@pytest.fixture
def url(new_url):
    return new_url()


@pytest.fixture
def engine(url):
    engine = create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(engine, clock):
    return Store(engine, max_attempts=3, clock=clock)


@pytest.fixture
def mine(store):
    """What the one tenant of most tests sees."""
    return store.of(LOCAL)


@pytest.fixture
def caller(store, mine):
    return Caller(store, mine)


@pytest.fixture
def lease():
    return LEASE


@pytest.fixture
def progress():
    return Progress(step=5, total_steps=10, epoch=1, epochs=2, sparsity=0.25, eta_seconds=None)


@pytest.fixture
def result():
    return JobResult(
        baseline={"loss": 0.5, "accuracy": 0.9},
        pruned=None,
        evaluated_on=None,
        sparsity=0.8,
        uploaded=Uploaded(bytes=100, bytes_without_optimizer=50),
        parameters=ParameterCounts(total=10, prunable=8, nonzero=4),
        layers=(),
        artifacts=(),
    )


@pytest.fixture
def artifact():
    """Return what a claim would publish as ``model.keras``."""

    def of(claim):
        return StoredArtifact(
            name="model.keras",
            key=artifact_key(claim.job.id, claim.fence, "model.keras"),
            format="keras",
            bytes=5_000_000_000,
            sha256="c" * 64,
        )

    return of


_MODEL = ModelSummary(
    format="keras",
    keras_version="3.15.1",
    class_name="Sequential",
    inputs=(),
    outputs=("dense",),
    layers=(),
    weights=(),
    parameters=10,
    weight_bytes=40,
    optimizer_bytes=0,
    compiled_loss=None,
    output_units=1,
)

_DATASET = DatasetSummary(
    arrays=(),
    ignored=(),
    train_samples=10,
    validation_samples=0,
    test_samples=0,
    integer_labels=True,
    lowest_label=0.0,
    highest_label=1.0,
)
