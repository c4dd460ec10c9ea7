"""``/v1/jobs/{id}/report``: what came of a job, as one HTML page that loads nothing.

No script, no other file, no other host: it can be kept, sent and printed. Everything that a model
file names is a stranger's word, and Jinja escapes it all.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from app.api import plots, words
from app.api.errors import problem_responses
from app.api.plots import Axis, Plot, Series, plot
from app.api.services import ServicesDep
from app.jobs.history import Columns, History
from app.jobs.job import Job
from app.jobs.result import JobResult, LayerSparsity

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_WEB = Path(__file__).parents[1] / "web"
_ICON = (_WEB / "assets" / "espalier.svg").read_text()
_STYLE = "".join(
    (_WEB / path).read_text() for path in (Path("assets", "espalier.css"), Path("report.css"))
)


def _policy() -> str:
    """Return what the page may load: its own style, by its hash, and its icon."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


_POLICY = _policy()
_HEADERS = {
    "Content-Security-Policy": f"{_POLICY}; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-cache",
}

#: Metrics that are fractions.
_SHARES = frozenset({"accuracy", "agreement", "sparsity"})
#: What a file is judged by, where it was measured.
_QUALITIES = ("accuracy", "agreement")
_HELD_OUT = "val_"


@router.get(
    "/{job_id}/report",
    response_class=HTMLResponse,
    responses={
        200: {"description": "The page", "content": {"text/html": {"schema": {"type": "string"}}}},
        **problem_responses(404, 503),
    },
)
def get_report(job_id: str, services: ServicesDep) -> HTMLResponse:
    """Show a job and its result as one HTML page that loads nothing else: to keep, send and print.

    A job that has not ended is shown as far as it is.
    """
    job, history = services.store.job(job_id), services.store.history(job_id)
    return HTMLResponse(
        report_page(job, history),
        headers={
            **_HEADERS,
            "Content-Disposition": f'inline; filename="{job.id}.html"',
        },
    )


@dataclass(frozen=True)
class Compared:
    """One figure before and after."""

    name: str
    before: str
    after: str
    change: str


@dataclass(frozen=True)
class Panel:
    """The curve of one quantity."""

    title: str
    summary: str  #: What the curve says, for those who cannot see it.
    latest: str
    has_held_out: bool  #: Whether there are dots for what was measured on held-out samples.
    plot: Plot


@dataclass(frozen=True)
class EpochTable:
    """The same by epoch."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def report_page(job: Job, history: History) -> str:
    """Return the page."""
    result = job.result
    return _TEMPLATE.render(
        job=job,
        result=result,
        took=_took(job),
        compared=() if result is None else tuple(_compared(result)),
        quality=_quality(result),
        panels=tuple(_panels(job, history)),
        epochs=_epoch_table(history.epochs),
        layers=() if result is None else _in_order(result.layers),
        # Whom the service tells of the end is nobody's business who is sent the page.
        spec=json.dumps(job.spec.model_dump(mode="json", exclude={"webhook"}), indent=2),
        words=words,
        value=_value,
        policy=_POLICY,
        # Ours, and no stranger's.
        style=Markup(_STYLE),  # noqa: S704
        icon=base64.b64encode(_ICON.encode()).decode(),
    )


def _took(job: Job) -> str | None:
    if job.started_at is None or job.finished_at is None:
        return None
    return words.duration((job.finished_at - job.started_at).total_seconds())


def _in_order(layers: Iterable[LayerSparsity]) -> tuple[LayerSparsity, ...]:
    """Return what was pruned, then what stayed dense, each in the model's order."""
    return tuple(sorted(layers, key=lambda layer: not layer.pruned))


def _quality(result: JobResult | None) -> str:
    measured = {} if result is None or result.pruned is None else result.pruned
    return next((name for name in _QUALITIES if name in measured), _QUALITIES[0])


def _compared(result: JobResult) -> Iterator[Compared]:
    before, after = result.baseline or {}, result.pruned or {}
    for name in sorted(after):
        yield Compared(
            name=words.title(name),
            before=_value(name, before.get(name)),
            after=_value(name, after[name]),
            change=_change(name, before.get(name), after[name]),
        )
    total, nonzero = result.parameters.total, result.parameters.nonzero
    yield Compared(
        name="Weights that are not zero",
        before=words.count(total),
        after=words.count(nonzero),
        change=words.signed(words.count(nonzero - total)),
    )


def _change(name: str, before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return words.NOTHING
    if name in _SHARES:
        return f"{words.signed(f'{100 * (after - before):.2f}')} points"
    return words.signed(f"{after - before:.4f}")


def _value(name: str, value: float | None) -> str:
    if value is None:
        return words.NOTHING
    if name.removeprefix(_HELD_OUT) in _SHARES:
        return words.percent(value, digits=2)
    return words.figure(value)


def _panels(job: Job, history: History) -> Iterator[Panel]:
    for name in sorted(history.steps, key=lambda name: name != "sparsity"):
        if name != "step" and any(value is not None for value in history.steps[name]):
            yield _panel(name, job, history)


def _panel(name: str, job: Job, history: History) -> Panel:
    steps = history.steps["step"]
    points = _pairs(steps, history.steps[name])
    held_out = _held_out(name, job, history.epochs)
    last_step, last = points[-1]
    latest = _value(name, last)
    return Panel(
        title=words.title(name),
        summary=f"{words.title(name)}: {latest} at step {words.count(round(last_step))}",
        latest=latest,
        has_held_out=bool(held_out),
        plot=plot(
            [
                Series("stairs" if name == "sparsity" else "line", points),
                Series("dots", held_out),
            ],
            x=Axis(
                lambda step: words.count(round(step)),
                low=0,
                high=None if job.progress is None else job.progress.total_steps,
            ),
            y=_axis(name),
        ),
    )


def _axis(name: str) -> Axis:
    if name == "sparsity":
        return Axis(words.short_percent, low=0, high=1)
    return Axis(words.short_percent if name in _SHARES else lambda value: f"{value:g}")


def _held_out(name: str, job: Job, epochs: Columns) -> plots.Points:
    """Return what was measured on held-out samples, at the last step of each epoch."""
    values = epochs.get(f"{_HELD_OUT}{name}")
    if values is None or job.progress is None:
        return ()
    steps_per_epoch = job.progress.total_steps / job.progress.epochs
    return _pairs([steps_per_epoch * (epoch or 0) for epoch in epochs["epoch"]], values)


def _pairs(xs: Sequence[float | None], ys: Sequence[float | None]) -> plots.Points:
    return tuple((x, y) for x, y in zip(xs, ys, strict=True) if x is not None)


def _epoch_table(epochs: Columns) -> EpochTable | None:
    if not epochs:
        return None
    return EpochTable(
        titles=tuple(
            f"{words.title(name.removeprefix(_HELD_OUT))}, held out"
            if name.startswith(_HELD_OUT)
            else words.title(name)
            for name in epochs
        ),
        rows=tuple(
            tuple(
                f"{value:.0f}" if name == "epoch" and value is not None else _value(name, value)
                for name, value in zip(epochs, row, strict=True)
            )
            for row in zip(*epochs.values(), strict=True)
        ),
    )


_TEMPLATE = Environment(
    loader=FileSystemLoader(_WEB),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
).get_template("report.html")
