"""Line plots as geometry: where an SVG has its lines, dots and ticks.

``chart.js`` draws the same for the page; here it is done once, for a page without scripts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

#: x ascending; y ``None`` where the value was not finite.
Points: TypeAlias = Sequence[tuple[float, float | None]]

WIDTH, HEIGHT = 300, 168
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 290, 10, 146
_TICKS_ACROSS, _TICKS_UP = 4, 4


@dataclass(frozen=True)
class Series:
    """One quantity over steps."""

    kind: Literal["line", "stairs", "dots"]
    points: Points


@dataclass(frozen=True)
class Axis:
    """An axis; a bound that is ``None`` is taken from the points."""

    label: Callable[[float], str]
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Tick:
    """A place on an axis, in the plot's units, and what stands there."""

    at: float
    label: str
    anchor: str  #: As SVG calls it: which end of the label is there.


@dataclass(frozen=True)
class Plot:
    """What an SVG of ``WIDTH`` by ``HEIGHT`` shows."""

    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    paths: tuple[tuple[str, str], ...]  #: Class of the style sheet, and ``d``.
    dots: tuple[tuple[float, float], ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = _RIGHT
    bottom: int = HEIGHT - 4  #: Of the labels.


def plot(series: Iterable[Series], *, x: Axis, y: Axis) -> Plot:
    """Return where everything is; at least one point of one series must have a y."""
    every = [one for one in series if one.points]
    place = _Scale.around(every, x=x, y=y)
    return Plot(
        across=tuple(place.ticks_across(x.label)),
        up=tuple(place.ticks_up(y.label)),
        paths=tuple(path for one in every for path in _paths(one, place)),
        dots=tuple(
            (place.x(at), place.y(value))
            for one in every
            if one.kind == "dots"
            for at, value in one.points
            if value is not None
        ),
    )


def ticks(low: float, high: float, wanted: int) -> list[float]:
    """Return round numbers from at most ``low`` to at least ``high``, about ``wanted`` of them.

    >>> ticks(0, 540, 4)
    [0.0, 200.0, 400.0, 600.0]
    >>> ticks(0.31, 0.92, 4)
    [0.2, 0.4, 0.6, 0.8, 1.0]
    """
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{place * step:.12g}") for place in range(first, last + 1)]


@dataclass(frozen=True)
class _Scale:
    """From values to places."""

    left: float
    right: float
    low: float
    high: float

    @classmethod
    def around(cls, series: Sequence[Series], *, x: Axis, y: Axis) -> _Scale:
        xs = [at for one in series for at, _ in one.points]
        ys = [value for one in series for _, value in one.points if value is not None]
        left = min(xs) if x.low is None else x.low
        low, high = _apart(
            min(ys) if y.low is None else y.low, max(ys) if y.high is None else y.high
        )
        round_numbers = ticks(low, high, _TICKS_UP)
        return cls(
            left=left,
            right=max(max(xs) if x.high is None else x.high, left + 1),
            low=round_numbers[0] if y.low is None else y.low,
            high=round_numbers[-1] if y.high is None else y.high,
        )

    def x(self, value: float) -> float:
        share = (value - self.left) / (self.right - self.left)
        return round(_LEFT + share * (_RIGHT - _LEFT), 1)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(_BOTTOM - share * (_BOTTOM - _TOP), 1)

    def ticks_across(self, label: Callable[[float], str]) -> Iterable[Tick]:
        for value in ticks(self.left, self.right, _TICKS_ACROSS):
            if value <= self.right:
                at = self.x(value)
                yield Tick(at, label(value), anchor=_anchor(at))

    def ticks_up(self, label: Callable[[float], str]) -> Iterable[Tick]:
        for value in ticks(self.low, self.high, _TICKS_UP):
            yield Tick(self.y(value), label(value), anchor="end")


def _apart(low: float, high: float) -> tuple[float, float]:
    """Return bounds with something between them."""
    if low < high:
        return low, high
    room = max(abs(low), 1.0) / 10
    return low - room, high + room


def _anchor(at: float) -> str:
    if at > _RIGHT - 16:
        return "end"
    return "start" if at < _LEFT + 4 else "middle"


def _paths(series: Series, place: _Scale) -> Iterable[tuple[str, str]]:
    if series.kind == "dots":
        return
    for run in _runs(series.points):
        places = [(place.x(at), place.y(value)) for at, value in run]
        line = _stairs(places) if series.kind == "stairs" else _straight(places)
        if series.kind == "stairs":
            yield "area", f"{line}V{_BOTTOM}H{places[0][0]}Z"
        yield series.kind, line


def _runs(points: Points) -> Iterable[list[tuple[float, float]]]:
    """Yield the points between one gap and the next."""
    run: list[tuple[float, float]] = []
    for at, value in points:
        if value is not None:
            run.append((at, value))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _straight(places: Sequence[tuple[float, float]]) -> str:
    (x, y), *rest = places
    # A single point has a length of zero, and round ends make a dot of it.
    return f"M{x},{y}h0" + "".join(f"L{x},{y}" for x, y in rest)


def _stairs(places: Sequence[tuple[float, float]]) -> str:
    (x, y), *rest = places
    return f"M{x},{y}h0" + "".join(f"H{x}V{y}" for x, y in rest)
