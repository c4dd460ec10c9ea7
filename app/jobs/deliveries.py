"""The post: what is to be told when a job has ended.

A message is made in the transaction that ends the job, so that none is forgotten and none is sent
of what did not happen; somebody else sends it (``app.courier``).
"""

from __future__ import annotations

import base64
import secrets
from datetime import datetime

from sqlalchemy import Connection, RowMapping, insert, select
from sqlalchemy.exc import IntegrityError

from app.jobs.delivery import Delivery, DeliveryStatus
from app.jobs.job import Job
from app.jobs.tables import deliveries, jobs, webhook_secrets

_ID_BYTES = 16
_SECRET_BYTES = 32


def announce(connection: Connection, before: Job, after: Job, *, at: datetime) -> None:
    """Put a message in the post where ``after`` has just ended and asks for it."""
    webhook = after.spec.webhook
    if webhook is None or before.status.is_final or not after.status.is_final:
        return
    tenant = select(jobs.c.tenant).where(jobs.c.id == after.id).scalar_subquery()
    delivery = Delivery(
        id=f"msg_{secrets.token_urlsafe(_ID_BYTES)}",
        job_id=after.id,
        url=webhook.url,
        type=f"job.{after.status}",
        created_at=at,
        status=DeliveryStatus.PENDING,
        attempts=(),
        next_attempt_at=at,
    )
    connection.execute(insert(deliveries).values(tenant=tenant, **dict(delivery)))


def delivery_from(row: RowMapping) -> Delivery:
    """Return the record in a row of ``deliveries``."""
    return Delivery.model_validate({name: row[name] for name in Delivery.model_fields})


def secret_of(connection: Connection, tenant: str) -> str:
    """Return the tenant's secret, made when it is first asked for; in a writing transaction.

    Source: Standard Webhooks, "Symmetric": ``whsec_`` and 24 to 64 random bytes in base 64.
    """
    kept = select(webhook_secrets.c.secret).where(webhook_secrets.c.tenant == tenant)
    secret = connection.scalar(kept)
    if secret is not None:
        return secret
    made = "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
    try:
        with connection.begin_nested():
            connection.execute(insert(webhook_secrets).values(tenant=tenant, secret=made))
    except IntegrityError:
        # Somebody else asked for the first time at the same moment.
        return connection.scalars(kept).one()
    return made
