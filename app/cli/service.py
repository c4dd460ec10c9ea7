"""``espalier serve``, and its parts on machines of their own; ``espalier demo``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.cli.exits import Status, ended
from app.cli.options import DataDir
from app.jobs.confinement.process import Confinement
from app.settings import Settings

PANEL = "Serve"

_Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
_Port = Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")]

app = typer.Typer()


@app.command(rich_help_panel=PANEL)
def serve(host: _Host = None, port: _Port = None, data_dir: DataDir = None) -> None:
    """Serve on this machine until Ctrl-C: HTTP, worker and broker together."""
    settings = _settings(host=host, port=port, data_dir=data_dir)
    try:
        from app.embedded import StackError
        from app.embedded import serve as serve_all
    except ModuleNotFoundError as error:
        raise _missing("serve", error) from error
    try:
        serve_all(settings, announce=_say_ready)
    except StackError as error:
        raise ended(str(error), Status.REFUSED) from error


@app.command(rich_help_panel=PANEL)
def api(host: _Host = None, port: _Port = None, data_dir: DataDir = None) -> None:
    """Serve HTTP alone; broker and workers run elsewhere, where ESPALIER_REDIS_URL says."""
    import uvicorn

    from app.api.application import create_app
    from app.jobs.confinement.trial import UnconfinedError, ascertain
    from app.main import UnguardedError, open_backends, require_guard

    settings = _settings(host=host, port=port, data_dir=data_dir)
    try:
        ascertain(production=settings.production)
        require_guard(settings)
    except (UnguardedError, UnconfinedError) as error:
        raise ended(str(error), Status.REFUSED) from error
    uvicorn.run(create_app(lambda: open_backends(settings)), host=settings.host, port=settings.port)


@app.command(rich_help_panel=PANEL)
def worker(data_dir: DataDir = None) -> None:
    """Prune on this machine, woken by the broker at ESPALIER_REDIS_URL."""
    settings = _settings(data_dir=data_dir)
    environment = {**os.environ, "ESPALIER_DATA_DIR": str(settings.data_dir)}
    # It takes this process's place, so that whoever stops this one stops it.
    os.execve(sys.executable, (sys.executable, "-m", "worker.main"), environment)  # noqa: S606


@app.command(rich_help_panel=PANEL)
def demo() -> None:
    """Prune a small real network through a service of its own; leaves files in demo-output."""
    try:
        from app.demo import main
    except ModuleNotFoundError as error:
        raise _missing("demo", error) from error
    main()


def _settings(**given: str | int | Path | None) -> Settings:
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    try:
        return Settings.model_validate(chosen)
    except ValidationError as error:
        words = "; ".join(_fault(details) for details in error.errors())
        raise ended(words, Status.REFUSED) from error


def _fault(details: ErrorDetails) -> str:
    return f"{details['loc'][0]}: {details['msg']}. Received: {details['input']}"


def _missing(command: str, error: ModuleNotFoundError) -> typer.Exit:
    words = f"{command} needs the package {error.name}; `espalier doctor` shows what is installed"
    return ended(words, Status.REFUSED)


def _say_ready(url: str, confinement: Confinement) -> None:
    typer.echo(f"Espalier serves at {url} (how to use it: {url}/docs). Ctrl-C stops it.")
    typer.echo(f"Uploaded files are opened under {confinement}.")
    if not confinement.is_complete:
        typer.echo("That is not enough for files of people whom you do not trust.")
