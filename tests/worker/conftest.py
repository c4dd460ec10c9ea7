"""What a worker stands on: a real SQLite file, a folder of files, and uploads."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from app.jobs.artifacts import ArtifactStore
from app.jobs.database import create_engine, migrate
from app.jobs.ids import new_id
from app.jobs.intake.dataset import summarise_dataset
from app.jobs.intake.model import summarise_model
from app.jobs.job import FileRef, Job
from app.jobs.spec import JobSpec
from app.jobs.store import Store
from app.jobs.tenants import LOCAL
from app.jobs.uploads import StoredDataset, StoredModel

DATA = Path(__file__).parents[1] / "data"
LEASE = timedelta(seconds=30)


@dataclass
class House:
    """Store and files, and whoever uploads and submits."""

    url: str
    store: Store
    artifacts: ArtifactStore
    folder: Path

    @property
    def caller(self):
        """What whoever uploads and submits sees of the store."""
        return self.store.of(LOCAL)

    def submit(self, spec="{}", *, model=DATA / "small.keras", dataset=None):
        job = Job(
            id=new_id("job"),
            created_at=datetime.now(UTC),
            model=self._upload_model(model).ref,
            dataset=None if dataset is None else self._upload_dataset(dataset).ref,
            spec=JobSpec.model_validate_json(spec),
        )
        self.caller.submit(job)
        return job

    def claim(self, spec="{}", **files):
        job = self.submit(spec, **files)
        claim = self.store.claim(job.id, worker="w1", lease=LEASE)
        assert claim is not None
        return claim

    def _upload_model(self, path):
        ref = _ref(path, "mdl")
        model = StoredModel(
            ref=ref,
            key=f"models/{ref.id}/{path.name}",
            created_at=datetime.now(UTC),
            summary=summarise_model(path),
            uploaded_with=None,
        )
        self.artifacts.put(model.key, path)
        self.caller.add_model(model)
        return model

    def _upload_dataset(self, path):
        ref = _ref(path, "dat")
        dataset = StoredDataset(
            ref=ref,
            key=f"datasets/{ref.id}/{path.name}",
            created_at=datetime.now(UTC),
            summary=summarise_dataset(path),
            uploaded_with=None,
        )
        self.artifacts.put(dataset.key, path)
        self.caller.add_dataset(dataset)
        return dataset


def _ref(path, prefix):
    content = path.read_bytes()
    return FileRef(
        id=new_id(prefix),
        filename=path.name,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


@pytest.fixture
def house(tmp_path):
    url = f"sqlite:///{tmp_path / 'espalier.sqlite'}"
    migrate(url)
    engine = create_engine(url)
    artifacts = ArtifactStore((tmp_path / "files").as_uri())
    yield House(url, Store(engine), artifacts, tmp_path)
    engine.dispose()


@pytest.fixture
def samples(tmp_path):
    """A dataset for ``small.keras``: four classes that the largest feature tells apart."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(64, 8)).astype(np.float32)
    path = tmp_path / "samples.npz"
    np.savez(path, x_train=x, y_train=x[:, :4].argmax(axis=1), x_test=x, y_test=x[:, :4].argmax(1))
    return path
