"""``espalier jobs`` and what can be done with one of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from app.cli import tables
from app.cli.exits import connected
from app.cli.options import DEFAULT_URL, ApiKey, AsJson, JobId, Url
from app.cli.pruning import PANEL, report
from app.cli.watching import followed
from espalier import Job, JobState

app = typer.Typer()


@app.command("jobs", rich_help_panel=PANEL)
def list_jobs(
    *,
    status: Annotated[
        str | None, typer.Option(help="Only those in this status, running for example.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """List the jobs, the newest first."""
    with connected(url, api_key) as client:
        states = list(islice(client.jobs(status=status), limit))
    if as_json:
        typer.echo(f"[{','.join(state.model_dump_json() for state in states)}]")
        return
    tables.output().print(tables.job_list(states))


@app.command(rich_help_panel=PANEL)
def watch(
    job_id: JobId, *, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = None
) -> None:
    """Show how JOB goes on, until it has ended, and what came of it.

    Ctrl-C asks what becomes of it. The exit status is that of `espalier prune`.
    """
    with connected(url, api_key) as client:
        state = followed(client.job(job_id))
    report(state, as_json=as_json)


@app.command(rich_help_panel=PANEL)
def cancel(job_id: JobId, *, url: Url = DEFAULT_URL, api_key: ApiKey = None) -> None:
    """Withdraw JOB. A running one ends within seconds."""
    _move(job_id, Job.cancel, url, api_key)


@app.command(rich_help_panel=PANEL)
def pause(job_id: JobId, *, url: Url = DEFAULT_URL, api_key: ApiKey = None) -> None:
    """Set JOB aside, so that others can run; `espalier resume` goes on with it."""
    _move(job_id, Job.pause, url, api_key)


@app.command(rich_help_panel=PANEL)
def resume(job_id: JobId, *, url: Url = DEFAULT_URL, api_key: ApiKey = None) -> None:
    """Go on with JOB, which was paused."""
    _move(job_id, Job.resume, url, api_key)


@app.command(rich_help_panel=PANEL)
def download(
    job_id: JobId,
    *,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the files.")
    ] = Path(),
    name: Annotated[
        str | None, typer.Option(help="Only this file, model.keras for example.")
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Download the files of JOB, each held against its digest, over files of the same name."""
    with connected(url, api_key) as client:
        files = client.job(job_id).download(out, name=name)
    for path in files:
        typer.echo(path)


def _move(job_id: str, move: Callable[[Job], JobState], url: str, api_key: str | None) -> None:
    with connected(url, api_key) as client:
        state = move(client.job(job_id))
    typer.echo(f"{state.id} {state.status}")
