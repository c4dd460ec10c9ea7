"""Tenants: to whom rows belong, who acts for them, and which rows a query sees."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from sqlalchemy import ColumnElement, Table, true

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")

#: From a table with a column ``tenant`` to the condition on the rows that may be seen. Who reads a
#: row by its id has to say one of the two below, so that a tenant cannot be forgotten.
Whose: TypeAlias = Callable[[Table], ColumnElement[bool]]


@dataclass(frozen=True)
class Caller:
    """Who makes a request."""

    tenant: str
    key_id: str | None  #: Of the key that was shown; ``None`` when none was asked for.


#: Everybody, where nobody is asked for a key: one tenant.
LOCAL = Caller(tenant="local", key_id=None)


def belonging_to(tenant: str) -> Whose:
    """Return the condition for the rows of one tenant."""
    return lambda table: table.c.tenant == tenant


def anybodys(_table: Table) -> ColumnElement[bool]:
    """Return the condition for all rows: that of the workers, who prune for every tenant."""
    return true()


def require_tenant_name(name: str) -> str:
    """Return ``name``, or raise ValueError when no tenant can be called so."""
    if not _NAME.fullmatch(name):
        message = (
            "a tenant must be 1 to 63 lower-case letters, digits, dots, dashes and underscores, "
            f"beginning with a letter or digit. Received: {name!r:.80}"
        )
        raise ValueError(message)
    return name
