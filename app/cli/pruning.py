"""``espalier prune`` and ``espalier preflight``: a model goes to the service."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from app.cli import specs, tables
from app.cli.exits import connected
from app.cli.options import (
    DEFAULT_URL,
    ApiKey,
    AsJson,
    DataFile,
    Epochs,
    Formats,
    Granularity,
    ModelFile,
    Out,
    Sparsity,
    Spec,
    Url,
)
from app.cli.watching import followed
from espalier import Client, Job, JobState
from espalier.payload import OnUpload
from espalier.records import Notice

PANEL = "Prune, by a service"

app = typer.Typer()


@app.command(rich_help_panel=PANEL)
def prune(  # noqa: PLR0913 - one parameter an option
    *,
    model: ModelFile,
    data: DataFile = None,
    sparsity: Sparsity = None,
    epochs: Epochs = None,
    granularity: Granularity = None,
    formats: Formats = None,
    spec: Spec = None,
    out: Out = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Do not wait for the job; print its id.")
    ] = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Have MODEL pruned, watch it, and download what comes out.

    The files go to DIR, MODEL's name with -pruned where it is left out, together with job.json,
    which has every figure.

    Exit status: 0 done; 1 refused; 2 wrong usage; 3 the job failed; 4 it was cancelled; 5 no
    service answers; 130 Ctrl-C, and the job goes on.
    """
    order = specs.assembled(
        spec, sparsity=sparsity, epochs=epochs, granularity=granularity, formats=formats
    )
    folder = _target(out, model, data)
    with connected(url, api_key) as client:
        job = _submitted(client, model, data, order)
        if detach:
            typer.echo(_json(job.state) if as_json else job.id)
            return
        typer.echo(f"{job.id} ({url}/jobs/{job.id})", err=True)
        state = followed(job)
        files = job.download(folder)
    (folder / "job.json").write_text(_json(state) + "\n", encoding="utf-8")
    report(state, as_json=as_json)
    typer.echo(f"In {folder}: {', '.join(path.name for path in files)}, job.json", err=True)


@app.command(rich_help_panel=PANEL)
def preflight(  # noqa: PLR0913 - one parameter an option
    *,
    model: ModelFile,
    data: DataFile = None,
    sparsity: Sparsity = None,
    epochs: Epochs = None,
    granularity: Granularity = None,
    formats: Formats = None,
    spec: Spec = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Say what `espalier prune` with the same options would do; nothing is stored."""
    order = specs.assembled(
        spec, sparsity=sparsity, epochs=epochs, granularity=granularity, formats=formats
    )
    with connected(url, api_key) as client, _upload_shown() as on_upload:
        plan = client.preflight(model, data, order, on_upload=on_upload)
    if as_json:
        typer.echo(plan.model_dump_json(indent=2))
        return
    console = tables.output()
    console.print(tables.plan_of(plan))
    console.print(f"{plan.total_steps:,} steps on {plan.train_samples:,} samples.")
    _warn(plan.warnings)


def report(state: JobState, *, as_json: bool) -> None:
    """Print what came of a job that succeeded."""
    if as_json:
        typer.echo(_json(state))
        return
    assert state.result is not None, "a job that succeeded has a result"
    tables.output().print(tables.before_and_after(state.result))
    _warn(state.warnings)


def _target(out: Path | None, model: Path, data: Path | None) -> Path:
    """Return the folder for the files, which must hold nothing that they could replace."""
    folder = Path(f"{model.stem}-pruned") if out is None else out
    inputs = (model,) if data is None else (model, data)
    if any(folder.resolve() == path.resolve().parent for path in inputs):
        message = f"must be another folder than that of the model and the data. Received: {folder}"
        raise typer.BadParameter(message, param_hint="--out")
    return folder


def _submitted(client: Client, model: Path, data: Path | None, order: dict[str, Any]) -> Job:
    with _upload_shown() as on_upload:
        return client.prune(model, data, order, on_upload=on_upload)


@contextmanager
def _upload_shown() -> Generator[OnUpload]:
    """Give what shows how much has been sent, in a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("uploading   "), BarColumn(bar_width=None), DownloadColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bars:
        bar = bars.add_task("", total=None)
        yield lambda sent, total: bars.update(bar, completed=sent, total=total)


def _warn(warnings: Iterable[Notice]) -> None:
    for warning in warnings:
        typer.echo(f"Note: {warning.message}", err=True)


def _json(state: JobState) -> str:
    return state.model_dump_json(indent=2)
