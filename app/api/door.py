"""The door: who makes a request.

A caller shows an API key. A service that has never had one lets the people of its own machine in
without: they come to a loopback address, and ask for one by name. A page of another host, which a
browser on this machine may show, is a stranger: it betrays itself by its ``Origin``, or, where its
name was made to lead here, by the ``Host`` that it asks for.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from hashlib import sha256
from hmac import compare_digest
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.api.backends import Backends, backends_of
from app.api.errors import NoKeyError
from app.api.rates import STRANGERS
from app.jobs.errors import InvalidKeyError
from app.jobs.tenants import LOCAL, Caller

_bearer = HTTPBearer(
    scheme_name="api_key",
    bearerFormat="esp_<id>_<secret>",
    description=(
        "A key that the operator made with `espalier keys create`. Where none has ever been made, "
        "callers on the machine itself need none."
    ),
    auto_error=False,
)


_metrics_token = HTTPBearer(
    scheme_name="metrics_token",
    description=(
        "What the operator has set as ESPALIER_METRICS_TOKEN. Where neither that nor any API key "
        "was ever made, callers on the machine itself need none."
    ),
    auto_error=False,
)


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether only this machine itself can reach what listens on ``host``.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "example.org")]
    [True, True, True, False, False]
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _caller_of(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> Caller:
    backends = backends_of(request)
    if credentials is None and _comes_from_here(request) and not await _were_keys_made(backends):
        return LOCAL
    try:
        caller = await _known(backends, credentials)
    except (InvalidKeyError, NoKeyError):
        backends.rate_limit.count(STRANGERS)
        raise
    backends.rate_limit.count(caller.tenant)
    return caller


async def _were_keys_made(backends: Backends) -> bool:
    return await backends.answers.to("were keys made", backends.keys.were_made)


async def _known(backends: Backends, credentials: HTTPAuthorizationCredentials | None) -> Caller:
    if credentials is None:
        raise NoKeyError
    key = credentials.credentials
    # The key itself is kept nowhere.
    digest = sha256(key.encode()).digest()
    return await backends.answers.to(("caller", digest), lambda: backends.keys.caller(key))


CallerDep = Annotated[Caller, Depends(_caller_of)]


async def _require_operator(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_metrics_token)],
) -> None:
    backends = backends_of(request)
    token = backends.metrics_token
    if token is None and _comes_from_here(request) and not await _were_keys_made(backends):
        return
    if token is not None and credentials is not None:
        shown = credentials.credentials.encode()
        if compare_digest(shown, token.encode()):
            return
    backends.rate_limit.count(STRANGERS)
    raise NoKeyError if credentials is None else InvalidKeyError


#: For what tells of every tenant. A tenant's key does not open it.
OPERATORS_ONLY = Depends(_require_operator)


def _comes_from_here(request: Request) -> bool:
    # The address that the connection came to, whatever the process was told to listen on.
    address, _ = request.scope["server"]
    host = request.headers.get("host", "")
    origin = request.headers.get("origin")
    return (
        is_loopback(address)
        and is_loopback(_without_port(host))
        and origin in {None, f"http://{host}", f"https://{host}"}
    )


def _without_port(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
