"""Whoever watches a job can leave, and is asked what then becomes of it."""

from __future__ import annotations

import sys

import typer
from rich.console import Console
from rich.prompt import Prompt

from app.cli.exits import Status
from espalier import Job, JobState

_QUESTION = (
    "\nThe job runs on the service. \\[c]ancel it, \\[l]eave it running, or go on \\[w]atching?"
)


def followed(job: Job) -> JobState:
    """Show the job until it has succeeded.

    Ctrl-C asks whether to cancel it, to leave it running, or to go on; where nobody can be asked,
    it is left running.

    Raises:
        JobFailedError: it failed.
        JobCancelledError: it was cancelled, by whomever.
        typer.Exit: it was left running.
    """
    while True:
        try:
            return job.watch()
        except KeyboardInterrupt:
            match _answer():
                case "c":
                    job.cancel()
                    return job.wait()
                case "w":
                    continue
                case _:
                    raise _left(job) from None


def _answer() -> str:
    if not sys.stdin.isatty():
        return "l"
    try:
        return Prompt.ask(
            _QUESTION, choices=["c", "l", "w"], default="l", console=Console(stderr=True)
        )
    except (EOFError, KeyboardInterrupt):
        return "l"


def _left(job: Job) -> typer.Exit:
    typer.echo(f"\nIt goes on. `espalier watch {job.id}` takes it up again.", err=True)
    return typer.Exit(Status.INTERRUPTED)
