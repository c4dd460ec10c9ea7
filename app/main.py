"""Wires the HTTP process: ``uvicorn app.main:app``."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, contextmanager

from sqlalchemy import Engine

from app.api.answers import Answers
from app.api.application import create_app
from app.api.backends import Backends
from app.api.door import is_loopback
from app.api.forms import remove_abandoned
from app.api.rates import RateLimit
from app.api.turns import Turns
from app.courier import Courier
from app.jobs.artifacts import ArtifactStore
from app.jobs.confinement.trial import ascertain
from app.jobs.database import create_engine, migrate, open_revision
from app.jobs.intake.run import Checks
from app.jobs.keys import Keys
from app.jobs.queue import Doorbell
from app.jobs.quotas import Quota
from app.jobs.store import Store
from app.jobs.webhooks import Webhooks
from app.jobs.workers import Workers
from app.settings import Settings
from app.telemetry.logs import configure_logs
from app.telemetry.tracing import traced


class UnguardedError(Exception):
    """Strangers could reach a service that asks nobody for a key."""


@contextmanager
def open_backends(settings: Settings) -> Generator[Backends]:
    """Open what ``settings`` name, the database brought to the newest tables.

    Raises:
        UnguardedError: the service would listen to strangers and has never had a key.
        UnconfinedError: in production, uploads could not be checked confined.
    """
    if settings.production:
        ascertain(production=True)
    incoming = settings.data_dir / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    remove_abandoned(incoming)
    if settings.log_format == "json":
        configure_logs(settings.log_format)
    with (
        traced("espalier-api", settings.traces_url),
        _opened_database(settings) as engine,
        closing(open_revision(engine)) as revision,
        Checks(timeout_seconds=settings.check_timeout_seconds) as checks,
        Courier(Webhooks(engine), allow_private=settings.webhook_private),
    ):
        yield Backends(
            store=Store(engine, max_attempts=settings.max_attempts),
            answers=Answers(revision.number),
            workers=Workers(engine),
            keys=Keys(engine),
            files=ArtifactStore(
                settings.resolved_artifact_url,
                growing_in=settings.data_dir.absolute() / "growing",
                keep_free_bytes=settings.keep_free_bytes,
                download_endpoint=settings.download_endpoint,
            ),
            doorbell=Doorbell(settings.redis_url),
            checks=checks,
            incoming=incoming,
            turns=Turns(),
            max_model_bytes=settings.max_model_bytes,
            max_dataset_bytes=settings.max_dataset_bytes,
            large_job_bytes=settings.large_job_bytes,
            quota=Quota(
                stored_bytes=settings.tenant_max_bytes, unfinished_jobs=settings.tenant_max_jobs
            ),
            rate_limit=RateLimit(settings.tenant_requests_per_minute),
            sender_silence_seconds=settings.sender_silence_seconds,
            allow_private_webhooks=settings.webhook_private,
            retention_seconds=settings.retention_seconds,
            metrics_token=settings.metrics_token,
        )


def require_guard(settings: Settings) -> None:
    """Find out, before anything is started, whether ``open_backends`` would raise UnguardedError.

    Raises:
        UnguardedError: the service would listen to strangers and has never had a key.
    """
    if not is_loopback(settings.host):
        with _opened_database(settings):
            pass


@contextmanager
def _opened_database(settings: Settings) -> Generator[Engine]:
    migrate(settings.resolved_database_url)
    engine = create_engine(settings.resolved_database_url)
    try:
        if not is_loopback(settings.host) and not Keys(engine).were_made():
            message = (
                "host must be a loopback address until there is an API key "
                f"(`espalier keys create TENANT` makes one). Received: {settings.host}"
            )
            raise UnguardedError(message)
        yield engine
    finally:
        engine.dispose()


# The environment is read when the server starts, not when the module is imported.
app = create_app(lambda: open_backends(Settings()))
