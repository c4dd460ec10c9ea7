"""The HTTP application: endpoints, errors, documentation."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TypedDict

from fastapi import FastAPI
from fastapi.concurrency import contextmanager_in_threadpool
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline

from app.api import artifacts, events, health, jobs, metrics, report, tus, uploads, webhooks
from app.api.backends import Backends, OpenBackends
from app.api.bodies import WatchedBodies
from app.api.errors import add_error_handlers, problem_responses
from app.api.pages import add_pages
from app.api.schema import describe

_DESCRIPTION = """
Upload a Keras model and a pruning schedule; get back the pruned, compressed model with the figures
that show what it cost.
"""

_TAGS = [
    {"name": "jobs", "description": "Have a model pruned, and follow it"},
    {"name": "artifacts", "description": "Download what came out"},
    {"name": "models", "description": "Upload a model once, prune it many times"},
    {"name": "datasets", "description": "Upload data once, use it many times"},
    {"name": "uploads", "description": "Send large files in pieces, by the tus protocol"},
    {"name": "webhooks", "description": "Be told when a job has ended"},
    {"name": "operations", "description": "Probes"},
]


class _State(TypedDict):
    backends: Backends


def create_app(open_backends: OpenBackends) -> FastAPI:
    """Return the application; its backends are opened when it starts, not before.

    Args:
        open_backends: Called once at start; what it yields is closed when the application ends.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[_State]:
        async with contextmanager_in_threadpool(open_backends()) as backends:
            yield {"backends": backends}

    app = FastAPIOffline(
        title="Espalier",
        version="0.1.0",
        description=_DESCRIPTION,
        openapi_tags=_TAGS,
        redoc_url=None,
        # Without this, Swagger UI shows the schema to a validator on another host.
        swagger_ui_parameters={"validatorUrl": None},
        separate_input_output_schemas=False,
        generate_unique_id_function=_operation_id,
        lifespan=lifespan,
    )
    for behind_the_door in (jobs, events, artifacts, report, uploads, tus, webhooks):
        app.include_router(behind_the_door.router, responses=problem_responses(401, 429))
    app.include_router(health.router)
    app.include_router(metrics.router)
    app.add_middleware(WatchedBodies)
    add_pages(app)
    add_error_handlers(app)
    describe(app)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name
