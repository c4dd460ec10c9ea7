"""The least that a FastAPI application can be, for ``bench.poll``."""

from __future__ import annotations

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def status() -> dict[str, str]:
    """Answer with a constant."""
    return {"status": "running"}
