"""How long one prediction takes: a pruned file against the same network with no weight zero."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

from app.jobs.formats import WITH_ALL_WEIGHTS, ArtifactFormat
from app.jobs.result import Latency, Timing
from pruning_core.config import Block, Channel, Granularity

_WARM_UP_CALLS = 5
_MOST_CALLS = 200
#: After this time the calls that were made must do; a few of them always are.
_SECONDS = 2.0
_FEWEST_CALLS = 5
#: Where the pruned one takes more of the dense one's time than this, it is no faster.
_FASTER = 0.95


def all_threads() -> int:
    """How many threads this process can run at a time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def race(pruned: Callable[[], object], dense: Callable[[], object], *, threads: int) -> Latency:
    """Time two predictions in turns, so that whatever else the machine does meets both alike."""
    for _ in range(_WARM_UP_CALLS):
        pruned()
        dense()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in _rounds():
        for seconds, predict in zip(times, (pruned, dense), strict=True):
            started = time.perf_counter()
            predict()
            seconds.append(time.perf_counter() - started)
    of_pruned, of_dense = map(_timing, times)
    return Latency(threads=threads, pruned=of_pruned, dense=of_dense)


def _rounds() -> Iterator[int]:
    ends_at = time.monotonic() + _SECONDS
    for made in range(_MOST_CALLS):
        if made >= _FEWEST_CALLS and time.monotonic() > ends_at:
            return
        yield made


def _timing(seconds: Sequence[float]) -> Timing:
    lower, _, upper = statistics.quantiles(seconds, n=4)
    return Timing(
        median_ms=statistics.median(seconds) * 1000,
        spread_ms=(upper - lower) * 1000,
    )


def remark_on_speed(
    latencies: Sequence[Latency], granularity: Granularity, *, form: ArtifactFormat
) -> str:
    """Return whether pruning made a file faster, and where it did not, what would.

    Args:
        latencies: Of the file; the first is judged.
        granularity: That the job asked for.
        form: The file's format.
    """
    pruned, dense = latencies[0].pruned, latencies[0].dense
    ratio = pruned.median_ms / dense.median_ms
    # Apart by more than chance: the middle halves of the two do not meet.
    apart = (pruned.spread_ms + dense.spread_ms) / 2 < dense.median_ms - pruned.median_ms
    if ratio < _FASTER and apart:
        return f"Pruning made it {1 / ratio:.1f} times as fast."
    if isinstance(granularity, Channel):
        return (
            "Pruning made it no faster: the filters that are zero are still in it. The format "
            "keras_compact leaves them out, and so do those of other runtimes."
            if form in WITH_ALL_WEIGHTS
            else "Pruning made it no faster: it spends its time elsewhere than in the filters that "
            "were taken out."
        )
    if form != "litert_sparse":
        return (
            "Pruning made it no faster: this runtime multiplies by zeros as by any other number. "
            "The granularity channel takes whole filters out, for every runtime; the format "
            "litert_sparse skips zeros in Dense layers, with the granularity block (4, 1)."
        )
    if isinstance(granularity, Block) and granularity.block_size == (4, 1):
        return (
            "Pruning made it no faster: LiteRT skips zeros in Dense layers, and this model spends "
            "its time elsewhere."
        )
    return (
        "Pruning made it no faster: LiteRT skips zeros in Dense layers only in blocks, so the "
        "granularity block (4, 1) would be faster there."
    )
