"""``espalier audit``: who changed what; ``python -m app.audit_cli`` where there is no broker."""

from __future__ import annotations

from typing import Annotated

import typer

from app.operators import DataDir, opened_database

app = typer.Typer(add_completion=False)


@app.command()
def audit(
    data_dir: DataDir = None,
    limit: Annotated[int, typer.Option(min=1, help="How many of the last rows.")] = 50,
) -> None:
    """Print who changed what and when, the newest last, a line each.

    Time (UTC), tenant, key (- for none), action, and the id of what was changed.
    """
    with opened_database(data_dir) as engine:
        from app.jobs.audit import latest

        for row in latest(engine, count=limit):
            at = row.at.isoformat(timespec="seconds")
            typer.echo(f"{at} {row.tenant} {row.key_id or '-'} {row.action} {row.subject}")


if __name__ == "__main__":
    app()
