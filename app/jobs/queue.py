"""The doorbell: it wakes a worker for a job. What is lost here is only a wake-up, never a job.

The one file of ``app`` that names Celery; what the two sides of the queue must agree on stands
here too.
"""

from __future__ import annotations

import ssl
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from app.jobs.errors import BackendUnavailableError
from app.jobs.lanes import Lane

#: Name of the task; its one argument is the id of the job that it was sent for.
PRUNE_TASK = "espalier.prune"
#: The queue of each lane.
QUEUES: Mapping[Lane, str] = {Lane.SMALL: "espalier", Lane.LARGE: "espalier.large"}

#: What both sides tell the transport. By default it looks for messages of dead workers only every
#: 100 s, and a connection that a firewall dropped in silence is never noticed.
BROKER_TRANSPORT_OPTIONS = {
    "health_check_interval": 15,
    "socket_keepalive": True,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
}

_CONNECT_SECONDS = 1.0
_ANSWER_SECONDS = 1.0
#: A pooled connection that has died since it was last used deserves one more try, at once.
_ONCE_MORE = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}


def broker_security(redis_url: str) -> Mapping[str, Any]:
    """Return what both sides set so that a ``rediss://`` broker has to show whose it is.

    Celery encrypts, and by itself asks for no certificate. What the URL says goes before this:
    ``?ssl_ca_certs=/path/ca.pem`` where the authority is not one that the system knows.
    """
    if not redis_url.startswith("rediss://"):
        return {}
    return {"broker_use_ssl": {"ssl_cert_reqs": ssl.CERT_REQUIRED}}


class Doorbell:
    """Rings for jobs; fails within seconds when the broker is away.

    Args:
        redis_url: The broker, for example ``redis://127.0.0.1:6379/0``,
            ``rediss://:password@redis.example:6379/0`` or ``redis+socket:///run/valkey.sock``.
    """

    def __init__(self, redis_url: str) -> None:
        self._celery = Celery("espalier", broker=redis_url, set_as_current=False)
        self._celery.conf.update(
            task_serializer="json",
            accept_content=["json"],
            broker_transport_options={
                **BROKER_TRANSPORT_OPTIONS,
                "socket_connect_timeout": _CONNECT_SECONDS,
                "socket_timeout": _ANSWER_SECONDS,
                **_ONCE_MORE,
            },
            **broker_security(redis_url),
        )

    def ring(self, job_id: str, lane: Lane) -> None:
        """Wake a worker of the job's lane.

        Raises:
            BackendUnavailableError: the broker does not answer.
        """
        with _translated():
            self._celery.send_task(
                PRUNE_TASK,
                args=(job_id,),
                queue=QUEUES[lane],
                ignore_result=True,
                retry_policy=_ONCE_MORE,
            )

    def waiting(self, lane: Lane) -> int:
        """Return how often it was rung in a lane that no worker has answered to yet.

        Raises:
            BackendUnavailableError: the broker does not answer.
        """
        with _translated(), self._celery.connection_for_write() as connection:
            # Of a queue that is empty, which on Redis does not exist, kombu's own question fails.
            channel: Any = connection.default_channel
            return channel.client.llen(QUEUES[lane])

    def is_reachable(self) -> bool:
        """Whether the broker answers now."""
        try:
            with _translated(), self._celery.connection_for_write() as connection:
                # Asking for the channel connects, which sends a PING.
                _ = connection.default_channel
        except BackendUnavailableError:
            return False
        return True


@contextmanager
def _translated() -> Generator[None]:
    try:
        yield
    # kombu translates what happens while it connects or sends, and nothing else.
    except (OperationalError, RedisError) as error:
        message = "the broker does not answer"
        raise BackendUnavailableError(message) from error
