"""Draws the schedules in ``docs/pruning.md`` from the code: ``python -m docs.curves``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pruning_core.schedule import Constant, Iterative, OneShot, PolynomialDecay, Schedule

FOLDER = Path(__file__).with_name("images")

TOTAL_STEPS = 1000
DRAWN: Mapping[str, Schedule] = {
    "constant": Constant(target_sparsity=0.8, begin_step=200, frequency=100),
    "polynomial_decay": PolynomialDecay(final_sparsity=0.8, begin_step=200, frequency=50),
    "polynomial_decay_from_half": PolynomialDecay(
        initial_sparsity=0.5, final_sparsity=0.8, begin_step=200, frequency=50
    ),
    "one_shot": OneShot(target_sparsity=0.8, begin_step=200),
    "iterative": Iterative(final_sparsity=0.8, begin_step=200, rounds=4),
}

_WIDTH, _HEIGHT = 480, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 16, 16, 40
_GRID, _LINE = "#ddd", "#1a6"


def drawing(schedule: Schedule) -> str:
    """Return an SVG of the sparsity that the model has after each step, and of the updates."""
    resolved = schedule.resolved(TOTAL_STEPS)
    size = f'width="{_WIDTH}" height="{_HEIGHT}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">',
            f'<rect {size} fill="#fff"/>',
            *_grid(),
            *_line(resolved),
            *_updates(resolved),
            "</svg>\n",
        ]
    )


def _grid() -> Iterator[str]:
    for sparsity in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        left, right, y = _x(0), _x(TOTAL_STEPS), _y(sparsity)
        yield f'<path d="M{left} {y}H{right}" stroke="{_GRID}"/>'
        yield _text(left - 8, y + 4, f"{sparsity:.1f}", anchor="end")
    for step in range(0, TOTAL_STEPS + 1, 200):
        yield _text(_x(step), _HEIGHT - _BOTTOM + 18, str(step))
    yield _text(_x(TOTAL_STEPS / 2), _HEIGHT - 6, "step")


def _line(schedule: Schedule) -> Iterator[str]:
    corners = [f"M{_x(0)} {_y(0)}"]
    corners += [f"H{_x(step)}V{_y(schedule.sparsity_at(step))}" for step in _steps(schedule)]
    corners.append(f"H{_x(TOTAL_STEPS)}")
    yield f'<path d="{"".join(corners)}" fill="none" stroke="{_LINE}" stroke-width="2"/>'


def _updates(schedule: Schedule) -> Iterator[str]:
    for step in _steps(schedule):
        x, y = _x(step), _y(schedule.sparsity_at(step))
        yield f'<circle cx="{x}" cy="{y}" r="3" fill="{_LINE}"/>'


def _steps(schedule: Schedule) -> list[int]:
    """Return the steps at which the masks are chosen anew."""
    return [step for step in range(TOTAL_STEPS + 1) if schedule.last_update(step) == step]


def _x(step: float) -> float:
    return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * step / TOTAL_STEPS, 1)


def _y(sparsity: float) -> float:
    return round(_TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - sparsity), 1)


def _text(x: float, y: float, text: str, *, anchor: str = "middle") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="12">{text}</text>'


def main() -> None:
    """Write a file for each schedule."""
    FOLDER.mkdir(exist_ok=True)
    for name, schedule in DRAWN.items():
        (FOLDER / f"{name}.svg").write_text(drawing(schedule), encoding="utf-8")


if __name__ == "__main__":
    main()
