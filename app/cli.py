"""The command line: ``espalier serve``, ``espalier keys``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app import key_cli
from app.embedded import StackError
from app.embedded import serve as serve_all
from app.jobs.confinement.process import Confinement
from app.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.add_typer(key_cli.app, name="keys")


@app.callback()
def espalier() -> None:
    """Prune Keras models: upload, fine-tune with magnitude pruning, download the smaller file."""


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder that keeps everything.")] = None,
) -> None:
    """Serve on this machine until Ctrl-C: HTTP, worker and broker together."""
    given = {"host": host, "port": port, "data_dir": data_dir}
    try:
        settings = Settings.model_validate(
            {name: value for name, value in given.items() if value is not None}
        )
        serve_all(settings, announce=_say_ready)
    except ValidationError as error:
        raise _refused("; ".join(_fault(details) for details in error.errors())) from error
    except StackError as error:
        raise _refused(str(error)) from error


def _fault(details: ErrorDetails) -> str:
    return f"{details['loc'][0]}: {details['msg']}. Received: {details['input']}"


def _refused(words: str) -> typer.Exit:
    typer.echo(f"espalier: {words}", err=True)
    return typer.Exit(1)


def _say_ready(url: str, confinement: Confinement) -> None:
    typer.echo(f"Espalier serves at {url} (how to use it: {url}/docs). Ctrl-C stops it.")
    typer.echo(f"Uploaded files are opened under {confinement}.")
    if not confinement.is_complete:
        typer.echo("That is not enough for files of people whom you do not trust.")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
