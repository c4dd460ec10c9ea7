"""``espalier keys``: who may come in; ``python -m app.key_cli`` where no broker is installed."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from app.operators import DataDir, opened_database

if TYPE_CHECKING:
    from app.jobs.keys import Keys

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Make, list and revoke API keys."
)


@app.command()
def create(tenant: str, data_dir: DataDir = None) -> None:
    """Make a key for TENANT and print it, once: it is stored nowhere.

    As soon as there has been a key, everybody needs one, on the machine itself too.
    """
    with _opened_keys(data_dir) as keys:
        key = keys.create(tenant)
    typer.echo(key)


@app.command("list")
def list_keys(data_dir: DataDir = None) -> None:
    """List every key by its id: whose it is, and whether it still opens anything."""
    table = Table("id", "tenant", "created", "revoked", box=None)
    with _opened_keys(data_dir) as keys:
        for key in keys.issued():
            revoked = "" if key.revoked_at is None else key.revoked_at.isoformat(timespec="seconds")
            table.add_row(key.id, key.tenant, key.created_at.isoformat(timespec="seconds"), revoked)
    Console().print(table)


@app.command()
def revoke(key_id: str, data_dir: DataDir = None) -> None:
    """Let the key with KEY_ID, its second part, open nothing from now on."""
    with _opened_keys(data_dir) as keys:
        keys.revoke(key_id)


@contextmanager
def _opened_keys(data_dir: Path | None) -> Generator[Keys]:
    """Give the keys; what is wrong with the call is said in a line, without a traceback."""
    with opened_database(data_dir) as engine:
        # Libraries of databases take seconds to import, and most commands need none.
        from app.jobs.keys import Keys

        yield Keys(engine)


if __name__ == "__main__":
    app()
