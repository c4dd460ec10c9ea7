"""The worker: ``python -m worker.main``. It waits for the doorbell, and supervises one runner.

TensorFlow is not imported here, nor in anything that is imported here.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Collection, Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType

from celery import Celery
from celery.signals import setup_logging, worker_shutting_down
from celery.worker import state

from app.jobs.artifacts import ArtifactStore
from app.jobs.confinement import kernel
from app.jobs.confinement.process import Confinement
from app.jobs.confinement.trial import UnconfinedError, ascertain
from app.jobs.database import create_engine, migrate
from app.jobs.lanes import EVERY_LANE, Lane
from app.jobs.queue import BROKER_TRANSPORT_OPTIONS, QUEUES, Doorbell, broker_security
from app.jobs.store import Store
from app.jobs.workers import Workers
from app.settings import Settings
from app.telemetry.logs import configure_logs
from app.telemetry.tracing import traced
from worker import tasks
from worker.bounds import Bounds
from worker.devices import visible_devices
from worker.housekeeping import Housekeeper
from worker.reaper import Reaper
from worker.runners import RunnerPool
from worker.spawning import PROGRAM, Nursery, Spawn, by_command
from worker.supervisor import Supervisor
from worker.workplace import workplace

logger = logging.getLogger(__name__)

_SOFT_SHUTDOWN_SECONDS = 10.0
#: Has a worker finish its job and end, where SIGTERM has it hand the job back.
_DRAIN = signal.SIGUSR2
#: How long a worker that says nothing more is taken for being there, beside what it waits itself.
_HERE_FOR = timedelta(minutes=1)


def main() -> int:
    """Serve until SIGTERM, SIGINT or SIGUSR2, and return the exit status."""
    settings = Settings()
    configure_logs(settings.log_format)
    try:
        confinement = ascertain(production=settings.production)
    except UnconfinedError:
        logger.exception("the worker does not start")
        return 1
    logger.info("runners are confined by %s", confinement)
    with (
        traced("espalier-worker", settings.traces_url),
        workplace(settings.data_dir.absolute() / "work") as folder,
        _spawning(folder) as spawn,
    ):
        return _work(settings, confinement, folder, spawn)


@contextmanager
def _spawning(folder: Path) -> Generator[Spawn]:
    if not kernel.IS_LINUX:
        yield by_command(PROGRAM)
        return
    with Nursery(folder / "nursery") as nursery:
        yield nursery.spawn


def _work(settings: Settings, confinement: Confinement, folder: Path, spawn: Spawn) -> int:
    migrate(settings.resolved_database_url)
    engine = create_engine(settings.resolved_database_url)
    store, workers = Store(engine, max_attempts=settings.max_attempts), Workers(engine)
    runners = RunnerPool(folder, spawn=spawn)
    stopping = threading.Event()
    artifacts = ArtifactStore(
        settings.resolved_artifact_url,
        growing_in=settings.data_dir.absolute() / "growing",
        keep_free_bytes=settings.keep_free_bytes,
    )
    supervisor = Supervisor(
        store,
        artifacts,
        runners,
        name=_name(),
        lanes=_lanes(settings),
        folder=folder,
        bounds=_bounds(settings),
        stopping=stopping,
    )
    every = timedelta(seconds=settings.reap_seconds)
    reaper = Reaper(
        store,
        Doorbell(settings.redis_url),
        runners,
        Housekeeper(store, artifacts, work=folder.parent, uploads_kept=_uploads_kept(settings)),
        here=lambda: workers.here(
            _name(), confinement, lease=_HERE_FOR + every, devices=visible_devices()
        ),
        every=every,
    )
    celery = _celery(settings.redis_url)
    tasks.install(celery, supervisor.attend)

    # The running job is handed back first: Celery then waits for its task, which is over soon.
    def hand_back(**_: object) -> None:
        stopping.set()

    # Celery takes no further message, and waits for its task; nobody tells that one to hurry.
    def drain(_signal: int, _frame: FrameType | None) -> None:
        logger.info("the worker finishes what it has, and ends")
        state.should_stop = os.EX_OK

    worker_shutting_down.connect(hand_back)
    signal.signal(_DRAIN, drain)
    reaper.start()
    # Nobody is served sooner by a worker that takes messages while TensorFlow is still imported.
    runners.mend()
    try:
        return _serve(celery, _lanes(settings))
    finally:
        stopping.set()
        reaper.close()
        runners.close()


@setup_logging.connect
def _keep_logs_as_they_are(**_: object) -> None:
    """Be there: Celery sets up no logs of its own where somebody else does."""
    # Its lines for each message say nothing of jobs.
    logging.getLogger("celery").setLevel(logging.WARNING)


def _uploads_kept(settings: Settings) -> timedelta | None:
    seconds = settings.retention_seconds
    return None if seconds is None else timedelta(seconds=seconds)


def _bounds(settings: Settings) -> Bounds:
    return Bounds(
        lease=timedelta(seconds=settings.lease_seconds),
        silence=timedelta(seconds=settings.silence_seconds),
        job=timedelta(seconds=settings.job_timeout_seconds),
        memory_bytes=settings.max_runner_memory_bytes,
        checkpoint=timedelta(seconds=settings.checkpoint_seconds),
    )


def _lanes(settings: Settings) -> frozenset[Lane]:
    return EVERY_LANE if settings.takes == "all" else frozenset({Lane(settings.takes)})


def _celery(redis_url: str) -> Celery:
    celery = Celery("espalier", broker=redis_url, set_as_current=True)
    celery.conf.update(
        task_default_queue=QUEUES[Lane.SMALL],
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        # A message is taken only by a worker that is free. Time limits are the supervisor's.
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        worker_pool="threads",
        worker_concurrency=1,
        worker_soft_shutdown_timeout=_SOFT_SHUTDOWN_SECONDS,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options=BROKER_TRANSPORT_OPTIONS,
        **broker_security(redis_url),
    )
    return celery


def _serve(celery: Celery, lanes: Collection[Lane]) -> int:
    worker = celery.Worker(
        hostname=_name(),
        queues=[QUEUES[lane] for lane in lanes],
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    return worker.exitcode or 0


def _name() -> str:
    return f"{os.getpid()}@{socket.gethostname()}"


if __name__ == "__main__":
    sys.exit(main())
