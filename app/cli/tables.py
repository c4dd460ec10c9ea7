"""What commands print, as tables of Rich."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.jobs.uploads import ModelSummary
from espalier.display import stage
from espalier.records import JobState, LayerSparsity, Metrics, Plan, Result

#: Metrics that are shares of the samples; the others are plain numbers.
_SHARES = frozenset({"accuracy", "agreement"})
_UNKNOWN = "-"
_ID_CHARACTERS = 30
_WIDE = 240


def output() -> Console:
    """Return standard output; where nobody's window bounds it, no line is broken."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDE)


def before_and_after(result: Result) -> Table:
    """Return what a job changed, as measured on what can be downloaded."""
    table = _titled("before", "after")
    before, after = result.baseline or {}, result.pruned or {}
    where = "" if result.evaluated_on is None else _where(result)
    for name in dict.fromkeys((*before, *after)):
        table.add_row(f"{name}{where}", _metric(name, before), _metric(name, after))
    counts = result.parameters
    table.add_row("weights that can be pruned", f"{counts.prunable:,}", f"{counts.prunable:,}")
    table.add_row("sparsity among them", "", f"{result.sparsity:.4f}")
    uploaded = result.uploaded
    table.add_row("bytes of the uploaded file", f"{uploaded.bytes:,}", "")
    table.add_row("  without the optimizer", f"{uploaded.bytes_without_optimizer:,}", "")
    for artifact in result.artifacts:
        table.add_row(f"bytes of {escape(artifact.name)}", "", f"{artifact.bytes:,}")
        if artifact.compressed_bytes < artifact.bytes:
            table.add_row("  under gzip", "", f"{artifact.compressed_bytes:,}")
    return table


def job_list(states: Iterable[JobState]) -> Table:
    """Return jobs, a line each."""
    table = Table(box=None)
    # An id is there to be copied.
    table.add_column("id", no_wrap=True, overflow="ignore", min_width=_ID_CHARACTERS)
    for column in ("stage", "step", "sparsity", "model", "created"):
        table.add_column(column)
    for state in states:
        table.add_row(
            state.id,
            stage(state),
            _steps(state),
            _sparsity(state),
            escape(state.model.filename),
            f"{state.created_at:%Y-%m-%d %H:%M}",
        )
    return table


def plan_of(plan: Plan) -> Table:
    """Return what a job would do to each weight tensor, and in all."""
    table = _titled("shape", "weights", "sparsity")
    for layer in plan.layers:
        table.add_row(*_tensor(layer.name, layer.weight, layer.shape), _planned(layer))
    table.add_section()
    near = "" if plan.is_exact else "about "
    table.add_row("all of them", "", f"{plan.parameters.prunable:,}", f"{near}{plan.sparsity:.4f}")
    for artifact in plan.artifacts:
        table.add_row(escape(artifact.name), "", "", f"about {artifact.bytes:,} bytes")
    return table


def contents(model: ModelSummary) -> Table:
    """Return a line for each weight tensor of a model: whether it can be pruned, or why not."""
    table = _titled("shape", "weights", "can be pruned")
    for weight in model.weights:
        table.add_row(*_tensor(weight.layer, weight.weight, weight.shape), weight.reason or "yes")
    return table


def _planned(layer: LayerSparsity) -> str:
    if not layer.pruned:
        return escape(layer.reason or _UNKNOWN)
    return "its weights decide" if layer.sparsity is None else f"{layer.sparsity:.4f}"


def _tensor(layer: str, weight: str, shape: Sequence[int]) -> tuple[str, str, str]:
    return (
        escape(f"{layer}/{weight}"),
        " x ".join(str(length) for length in shape),
        f"{math.prod(shape):,}",
    )


def _titled(*columns: str) -> Table:
    table = Table("")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _where(result: Result) -> str:
    assert result.evaluated_on is not None, "asked only where something was measured"
    return f" on {result.evaluated_on.samples:,} {result.evaluated_on.split} samples"


def _metric(name: str, metrics: Metrics) -> str:
    value = metrics.get(name)
    if value is None:
        return _UNKNOWN
    return f"{value:.2%}" if name in _SHARES else f"{value:.4g}"


def _steps(state: JobState) -> str:
    progress = state.progress
    return _UNKNOWN if progress is None else f"{progress.step:,}/{progress.total_steps:,}"


def _sparsity(state: JobState) -> str:
    if state.result is not None:
        return f"{state.result.sparsity:.3f}"
    return _UNKNOWN if state.progress is None else f"{state.progress.sparsity:.3f}"
