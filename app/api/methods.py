"""What can be done with a path: the framework asks the first route that has it, and no other."""

from __future__ import annotations

from fastapi import Request
from fastapi.routing import iter_route_contexts


def allowed_methods(request: Request) -> str:
    """Return what ``Allow`` says of the path that ``request`` names (RFC 9110, section 10.2.1)."""
    path = request.url.path
    exact: set[str] = set()
    by_pattern: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        if route.methods and route.path_regex.match(path):
            (exact if route.path == path else by_pattern).update(route.methods)
    # As in OpenAPI, a path that is written out goes before one with a parameter in that place.
    return ", ".join(sorted(exact or by_pattern))
