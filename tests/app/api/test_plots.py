import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.plots import HEIGHT, WIDTH, Axis, Series, plot, ticks

ROUND = Axis(lambda value: f"{value:g}")
values = st.floats(-1e6, 1e6)
points = st.lists(st.one_of(values, st.none()), min_size=1, max_size=30).map(
    lambda ys: tuple(enumerate([*ys, 0.5]))
)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        pytest.param(0, 1, [0, 0.25, 0.5, 0.75, 1], id="shares"),
        pytest.param(0, 938, [0, 250, 500, 750, 1000], id="steps"),
        pytest.param(-1, 1, [-1, -0.5, 0, 0.5, 1], id="around zero"),
    ],
)
def test_ticks_are_round_numbers(low, high, expected):
    assert ticks(low, high, 4) == expected


@given(values, values)
def test_ticks_enclose_what_they_are_for(one, other):
    low, high = min(one, other), max(one, other) + 1

    found = ticks(low, high, 4)

    hair = 1e-6 * (high - low)
    assert found[0] <= low + hair
    assert found[-1] >= high - hair


@pytest.mark.parametrize("kind", ["line", "stairs", "dots"])
@given(points)
def test_nothing_is_drawn_outside(kind, points):
    drawn = plot([Series(kind, points)], x=ROUND, y=ROUND)

    numbers = [float(n) for _, path in drawn.paths for n in re.findall(r"-?[\d.]+", path)]
    numbers += [n for dot in drawn.dots for n in dot]
    assert all(0 <= number <= max(WIDTH, HEIGHT) for number in numbers)


def test_a_line_ends_at_a_gap_and_begins_behind_it():
    series = Series("line", ((0, 1.0), (1, 2.0), (2, None), (3, 1.5)))

    drawn = plot([series], x=ROUND, y=ROUND)

    assert [path.count("M") for _, path in drawn.paths] == [1, 1]


def test_what_never_changes_is_a_line_in_the_middle():
    drawn = plot([Series("line", ((0, 0.5), (10, 0.5)))], x=ROUND, y=Axis(str))

    [(_, path)] = drawn.paths
    ys = {float(y) for y in re.findall(r",([\d.]+)", path)}
    assert len(ys) == 1
    assert 10 < ys.pop() < HEIGHT - 30
