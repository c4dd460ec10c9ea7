"""Webhooks, as who receives them needs them: the secret, and what became of each message."""

from __future__ import annotations

from fastapi import APIRouter

from app.api.errors import problem_responses
from app.api.services import ServicesDep
from app.api.views import DeliveryView, WebhookSecret

router = APIRouter(prefix="/v1", tags=["webhooks"])


@router.get("/jobs/{job_id}/deliveries", responses=problem_responses(404, 503))
def list_deliveries(job_id: str, services: ServicesDep) -> list[DeliveryView]:
    """Show what the job's webhook was told: each try, and when the next one is."""
    return [DeliveryView.of(delivery) for delivery in services.store.deliveries(job_id)]


@router.get("/webhook-secret", responses=problem_responses(503))
def get_webhook_secret(services: ServicesDep) -> WebhookSecret:
    """Give the secret that your webhooks are signed with, for any library of Standard Webhooks."""
    return WebhookSecret(secret=services.store.webhook_secret())
