"""``/``: the web page, a client of the API like any other; its files lie in ``app/web``."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response
from starlette.types import Scope

_FOLDER = Path(__file__).parents[1] / "web"
#: Paths at which the page shows something of its own; it reads the path itself.
_PATHS = ("/", "/jobs", "/jobs/{job_id}")

_HEADERS = {
    # Nothing inline, nothing from other hosts, and in nobody else's frame.
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "object-src 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Asked for again each time, so that a new version shows at once; answered by a 304.
    "Cache-Control": "no-cache",
}


class _Assets(StaticFiles):
    """Style sheets and scripts, with the headers of the page."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response


def add_pages(app: FastAPI) -> None:
    """Serve the page at its paths, and what it loads below ``/assets``."""
    for path in _PATHS:
        app.add_api_route(path, _page, methods=["GET", "HEAD"], include_in_schema=False)
    app.mount("/assets", _Assets(directory=_FOLDER / "assets"))


def _page() -> FileResponse:
    return FileResponse(_FOLDER / "index.html", headers=_HEADERS)
