"""What can be done with a path: the framework asks the first route that has it, and no other."""

from __future__ import annotations

from fastapi import Request
from fastapi.routing import iter_route_contexts


def allowed_methods(request: Request) -> str:
    """Return what ``Allow`` says of the path that ``request`` names (RFC 9110, section 10.2.1)."""
    methods: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        if route.methods and route.path_regex.match(request.url.path):
            methods |= route.methods
    return ", ".join(sorted(methods))
