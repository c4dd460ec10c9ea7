"""API keys: made, checked, revoked. What is stored of a key opens nothing."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from sqlalchemy import Connection, Engine, insert, select, update

from app.jobs.audit import Action, note
from app.jobs.database import database_time, reading, writing
from app.jobs.errors import InvalidKeyError, KeyNotFoundError
from app.jobs.tables import api_keys
from app.jobs.tenants import Caller, require_tenant_name

_ID_BYTES = 6
_SECRET_BYTES = 32
_KEY = re.compile(r"esp_([0-9a-f]{12})_[0-9a-f]{64}")


@dataclass(frozen=True)
class ApiKey:
    """What is known of a key after it was shown."""

    id: str  #: Its second part; no secret.
    tenant: str
    created_at: datetime
    revoked_at: datetime | None  #: ``None`` while it opens the door.


class Keys:
    """The keys of all tenants.

    A key reads ``esp_<id>_<secret>``: the id finds its row, the secret has 256 random bits, and the
    row has the SHA-256 of the whole. So much randomness needs no slow hash.

    Every method is one transaction, and raises BackendUnavailableError when the database cannot
    be reached.

    Args:
        engine: From ``app.jobs.database.create_engine``, brought up to date by ``migrate``.
        clock: What time it is for records.
    """

    def __init__(
        self, engine: Engine, *, clock: Callable[[Connection], datetime] = database_time
    ) -> None:
        self._engine = engine
        self._clock = clock

    def create(self, tenant: str) -> str:
        """Make a key for ``tenant`` and return it; nobody can read it again.

        Raises:
            ValueError: no tenant can be called so.
        """
        require_tenant_name(tenant)
        key_id = secrets.token_hex(_ID_BYTES)
        key = f"esp_{key_id}_{secrets.token_hex(_SECRET_BYTES)}"
        with writing(self._engine) as connection:
            now = self._clock(connection)
            row = insert(api_keys).values(
                id=key_id, tenant=tenant, sha256=_digest(key), created_at=now
            )
            connection.execute(row)
            note(connection, _operator_of(tenant), Action.KEY_CREATED, key_id, at=now)
        return key

    def caller(self, key: str) -> Caller:
        """Return who shows ``key``.

        Raises:
            InvalidKeyError: it is none, or it has been revoked. The message does not say which,
                and does not repeat it.
        """
        parts = _KEY.fullmatch(key)
        if parts is None:
            raise InvalidKeyError
        query = select(api_keys).where(api_keys.c.id == parts[1], api_keys.c.revoked_at.is_(None))
        with reading(self._engine) as connection:
            row = connection.execute(query).mappings().one_or_none()
        if row is None or not hmac.compare_digest(row["sha256"], _digest(key)):
            raise InvalidKeyError
        return Caller(tenant=row["tenant"], key_id=row["id"])

    def were_made(self) -> bool:
        """Whether there has ever been a key; revoking the last one does not open the door."""
        with reading(self._engine) as connection:
            return connection.scalar(select(api_keys.c.id).limit(1)) is not None

    def issued(self) -> list[ApiKey]:
        """Return every key, the oldest first, revoked ones too."""
        columns = (api_keys.c[name] for name in ("id", "tenant", "created_at", "revoked_at"))
        query = select(*columns).order_by(api_keys.c.created_at, api_keys.c.id)
        with reading(self._engine) as connection:
            return [ApiKey(**row) for row in connection.execute(query).mappings()]

    def revoke(self, key_id: str) -> None:
        """Let a key open nothing any more, from the next request on.

        Raises:
            KeyNotFoundError: there is no such key, or it has been revoked before.
        """
        revoked = (
            update(api_keys)
            .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
            .returning(api_keys.c.tenant)
        )
        with writing(self._engine) as connection:
            now = self._clock(connection)
            tenant = connection.scalar(revoked.values(revoked_at=now))
            if tenant is None:
                message = f"there is no valid key {key_id!r:.80}"
                raise KeyNotFoundError(message)
            note(connection, _operator_of(tenant), Action.KEY_REVOKED, key_id, at=now)


def _digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


def _operator_of(tenant: str) -> Caller:
    """Return who acts at the command line: somebody who can read the database needs no key."""
    return Caller(tenant=tenant, key_id=None)
