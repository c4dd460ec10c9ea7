"""The command line, ``espalier``.

``prune``, ``jobs`` and their kin are a client of a service, by ``espalier`` and nothing else;
``serve``, ``api`` and ``worker`` are the service; ``inspect`` and ``doctor`` need neither. What
starts or is asked for rarely is imported only when its command runs: a shell that completes a word
does not wait for a database.

Results go to standard output, everything else to standard error; ``exits`` has the exit statuses.
"""

from __future__ import annotations

import typer

from app import audit_cli, key_cli
from app.cli import doctor, inspection, jobs, pruning, service

app = typer.Typer(name="espalier", no_args_is_help=True, rich_markup_mode="markdown")
for part in (pruning, jobs, inspection, service, doctor):
    app.add_typer(part.app)
app.add_typer(key_cli.app, name="keys", rich_help_panel=service.PANEL)
app.command(rich_help_panel=service.PANEL)(audit_cli.audit)


@app.callback()
def espalier() -> None:
    """Prune Keras models: upload, fine-tune with magnitude pruning, download the smaller file."""


def main() -> None:
    """Run the command line."""
    app()
