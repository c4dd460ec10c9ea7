"""What ``/openapi.json`` says beyond what the endpoints' signatures say."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from app.api.errors import Problem
from app.api.orders import JobRequest


def describe(app: FastAPI) -> None:
    """Make the schema of ``app`` say what is read and answered by hand."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        schema = generate()
        _add_records(schema)
        _remove_answers_never_given(schema)
        return schema

    app.openapi = openapi


def _add_records(schema: dict[str, Any]) -> None:
    _, definitions = models_json_schema(
        [(Problem, "validation"), (JobRequest, "validation")],
        ref_template="#/components/schemas/{model}",
    )
    known: dict[str, Any] = schema["components"]["schemas"]
    for name, definition in definitions["$defs"].items():
        known.setdefault(name, definition)


def _remove_answers_never_given(schema: dict[str, Any]) -> None:
    """Remove the framework's own 422, which it promises for every call that has a parameter."""
    for path in schema["paths"].values():
        for operation in path.values():
            answers = operation["responses"]
            if "application/json" in answers.get("422", {}).get("content", {}):
                del answers["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(name, None)
