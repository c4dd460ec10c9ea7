"""A job as it goes on, for somebody who watches: in a terminal, in a notebook, in a log."""

from __future__ import annotations

import html
from collections.abc import Iterable
from importlib import import_module

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from espalier.records import JobState, Moment

_WIDEST_STAGE = 12


def show(moments: Iterable[Moment], console: Console | None = None) -> None:
    """Show ``moments`` as they come, until there are no more.

    Args:
        moments: Of one job.
        console: Where to; left out: standard error, so that standard output is left to results.
    """
    console = Console(stderr=True, highlight=False) if console is None else console
    if console.is_jupyter:
        _show_in_notebook(moments)
    elif console.is_terminal:
        _show_bar(moments, console)
    else:
        _show_lines(moments, console)


def stage(state: JobState) -> str:
    """Return in a word what is being done with the job.

    It is what it runs through while it runs (``fine-tuning``), else its status (``queued``).
    """
    if state.status != "running":
        return state.status
    return (state.stage or "starting").replace("_", "-")


def figures(moment: Moment) -> str:
    """Return sparsity, loss and time left, those of them that are known."""
    progress = moment.state.progress
    if progress is None:
        return ""
    known = [f"sparsity {progress.sparsity:.3f}"]
    if moment.loss is not None:
        known.append(f"loss {moment.loss:.4g}")
    if progress.eta_seconds and moment.state.status == "running":
        known.append(f"{duration(progress.eta_seconds)} left")
    return "  ".join(known)


def duration(seconds: float) -> str:
    """Return how long that is, to the second.

    >>> duration(42.4), duration(200), duration(7384)
    ('42 s', '3 min 20 s', '2 h 3 min')
    """
    minutes, whole_seconds = divmod(round(seconds), 60)
    hours, whole_minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {whole_minutes} min"
    return f"{minutes} min {whole_seconds} s" if minutes else f"{whole_seconds} s"


def _show_bar(moments: Iterable[Moment], console: Console) -> None:
    columns = (
        TextColumn(f"{{task.description:<{_WIDEST_STAGE}}}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
        # It moves on its own, also while the service has nothing to tell.
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bars:
        bar = bars.add_task("", total=None, figures="")
        for moment in moments:
            progress = moment.state.progress
            bars.update(
                bar,
                description=stage(moment.state),
                completed=progress.step if progress else 0,
                total=progress.total_steps if progress else None,
                figures=figures(moment),
            )


def _show_lines(moments: Iterable[Moment], console: Console) -> None:
    """Print a line for each stage and each tenth of the training."""
    shown: tuple[str, int] | None = None
    for moment in moments:
        tenth, now = _tenths(moment.state), stage(moment.state)
        if shown != (now, tenth):
            shown = (now, tenth)
            line = f"{now:<{_WIDEST_STAGE}} {10 * tenth:>3} % {figures(moment)}"
            console.print(line.rstrip(), markup=False, soft_wrap=True)


def _tenths(state: JobState) -> int:
    progress = state.progress
    if progress is None or not progress.total_steps:
        return 0
    return 10 * progress.step // progress.total_steps


def _show_in_notebook(moments: Iterable[Moment]) -> None:
    # Only a notebook has it, and there it is loaded already.
    display = import_module("IPython.display")
    shown = None
    for moment in moments:
        picture = display.HTML(as_html(moment))
        if shown is None:
            shown = display.display(picture, display_id=True)
        else:
            shown.update(picture)


def as_html(moment: Moment) -> str:
    """Return a moment as a notebook shows it."""
    state = moment.state
    value = "" if state.progress is None else f'value="{state.progress.step}"'
    most = "" if state.progress is None else f'max="{state.progress.total_steps}"'
    name = html.escape(state.model.filename)
    words = html.escape(f"{stage(state)}  {figures(moment)}".strip())
    bar = "" if state.is_final else f'<progress {value} {most} aria-label="{name}"></progress> '
    return f"<div>{bar}<b>{name}</b> {words}</div>"
