"""``espalier inspect``: what is in a model file, and what of it can be pruned; no server."""

from __future__ import annotations

import typer

from app.cli import tables
from app.cli.exits import Status, ended
from app.cli.options import AsJson, ModelFile

_TIMEOUT_SECONDS = 120.0

app = typer.Typer()


@app.command("inspect", rich_help_panel="Look, without a service")
def inspect_model(*, model: ModelFile, as_json: AsJson = False) -> None:
    """Show the weights of MODEL, which of them can be pruned, and why not the others.

    The file is read the way the service reads it: without running anything in it, by a process
    that the kernel keeps from everything else. Exit status 1: the service would refuse it.
    """
    from app.jobs.errors import RefusedFileError
    from app.jobs.intake.run import Checks

    try:
        with Checks(timeout_seconds=_TIMEOUT_SECONDS) as checks:
            summary = checks.model(model)
    except RefusedFileError as error:
        raise ended(str(error), Status.REFUSED) from error
    if as_json:
        typer.echo(summary.model_dump_json(indent=2))
        return
    console = tables.output()
    console.print(tables.contents(summary))
    console.print(
        f"{summary.class_name} of Keras {summary.keras_version}, {summary.parameters:,} "
        f"parameters: {summary.weight_bytes:,} bytes of weights, {summary.optimizer_bytes:,} that "
        "only training needs.",
        markup=False,
    )
    for change in summary.changes_for_keras_3:
        console.print(f"Converted for Keras 3: {change}.", markup=False)
