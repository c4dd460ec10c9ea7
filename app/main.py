"""Wires the HTTP process: ``uvicorn app.main:app``."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from app.api.application import create_app
from app.api.services import Services
from app.jobs.artifacts import ArtifactStore
from app.jobs.database import create_engine, migrate
from app.jobs.intake.run import Checks
from app.jobs.queue import Doorbell
from app.jobs.store import Store
from app.settings import Settings


@contextmanager
def open_services(settings: Settings) -> Generator[Services]:
    """Open what ``settings`` name, the database brought to the newest tables."""
    incoming = settings.data_dir / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    migrate(settings.resolved_database_url)
    engine = create_engine(settings.resolved_database_url)
    try:
        with Checks(timeout_seconds=settings.check_timeout_seconds) as checks:
            yield Services(
                store=Store(engine, max_attempts=settings.max_attempts),
                files=ArtifactStore(settings.resolved_artifact_url),
                doorbell=Doorbell(settings.redis_url),
                checks=checks,
                incoming=incoming,
                max_model_bytes=settings.max_model_bytes,
                max_dataset_bytes=settings.max_dataset_bytes,
            )
    finally:
        engine.dispose()


# The environment is read when the server starts, not when the module is imported.
app = create_app(lambda: open_services(Settings()))
