"""What ``/openapi.json`` says beyond what the endpoints' signatures say."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from app.api.errors import Problem
from app.api.orders import JobRequest


def describe(app: FastAPI) -> None:
    """Add to the schema of ``app`` the records that are read or written by hand."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        schema = generate()
        _, definitions = models_json_schema(
            [(Problem, "validation"), (JobRequest, "validation")],
            ref_template="#/components/schemas/{model}",
        )
        known: dict[str, Any] = schema["components"]["schemas"]
        for name, definition in definitions["$defs"].items():
            known.setdefault(name, definition)
        return schema

    app.openapi = openapi
