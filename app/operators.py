"""What the operator's commands work with: the database, whether the service runs or not."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from app.jobs.errors import JobError
from app.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

DataDir: TypeAlias = Annotated[Path | None, typer.Option(help="Folder that keeps everything.")]


@contextmanager
def opened_database(data_dir: Path | None) -> Generator[Engine]:
    """Give the database, brought up to date; what is wrong is said in a line, without a traceback.

    Args:
        data_dir: Where it is; ``None`` for where the settings say.
    """
    # Libraries of databases take seconds to import, and most commands need none.
    from app.jobs.database import create_engine, migrate

    settings = Settings() if data_dir is None else Settings(data_dir=data_dir)
    url = settings.resolved_database_url
    try:
        migrate(url)
        engine = create_engine(url)
        try:
            yield engine
        finally:
            engine.dispose()
    except (JobError, ValueError) as error:
        typer.echo(f"espalier: {error}", err=True)
        raise typer.Exit(1) from error
