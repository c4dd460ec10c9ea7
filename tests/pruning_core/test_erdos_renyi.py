import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruning_core.erdos_renyi import erdos_renyi_left

shapes = st.lists(
    st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple), min_size=1, max_size=5
)


def size_of(some_shapes):
    return sum(math.prod(shape) for shape in some_shapes)


@st.composite
def shapes_and_total(draw):
    drawn = draw(shapes)
    return drawn, draw(st.integers(0, size_of(drawn)))


def left_weight_by_weight(some_shapes, total):
    """D'Hondt's rule read aloud: each weight to the tensor that it brings least far ahead."""
    left = [0] * len(some_shapes)
    for _ in range(total):
        _, place = min(
            (Fraction(left[place] + 1, sum(shape)), place)
            for place, shape in enumerate(some_shapes)
            if left[place] < math.prod(shape)
        )
        left[place] += 1
    return left


@pytest.mark.parametrize(
    ("some_shapes", "total", "left"),
    [
        pytest.param([(3, 7), (6, 4)], 20, [10, 10], id="equal sums of sides, equal shares"),
        pytest.param([(10, 10), (30, 30)], 80, [20, 60], id="a share is 20 / 400"),
        pytest.param([(2, 2), (10, 40)], 108, [4, 104], id="the small one is full"),
        pytest.param([(1, 1), (2, 2), (10, 10)], 25, [1, 4, 20], id="two are full"),
        pytest.param([(3, 3, 1, 2), (3, 3, 2, 2)], 19, [9, 10], id="sides of a convolution"),
        pytest.param([(4, 4)], 0, [0], id="nothing is left"),
        pytest.param([(4, 4), (5,)], 21, [16, 5], id="everything is left"),
        pytest.param([()], 1, [1], id="a scalar"),
        pytest.param([], 0, [], id="no tensor"),
    ],
)
def test_what_is_left(some_shapes, total, left):
    assert erdos_renyi_left(some_shapes, total) == left


@given(shapes_and_total())
def test_equals_the_rule_weight_by_weight(drawn):
    assert erdos_renyi_left(*drawn) == left_weight_by_weight(*drawn)


@given(shapes_and_total())
def test_the_total_is_exact_and_none_has_more_than_all(drawn):
    some_shapes, total = drawn

    left = erdos_renyi_left(some_shapes, total)

    assert sum(left) == total
    assert all(0 <= n <= math.prod(s) for n, s in zip(left, some_shapes, strict=True))


@given(shapes_and_total())
def test_the_densities_of_what_is_not_full_are_in_the_papers_proportion(drawn):
    some_shapes, total = drawn
    left = erdos_renyi_left(some_shapes, total)

    shares = [
        Fraction(n, sum(shape))
        for n, shape in zip(left, some_shapes, strict=True)
        if n < math.prod(shape)
    ]
    rounding = [Fraction(len(left), sum(shape)) for shape in some_shapes]
    assert max(shares, default=0) - min(shares, default=0) <= max(rounding)


@given(shapes_and_total())
def test_none_has_fewer_for_one_more_in_all(drawn):
    some_shapes, total = drawn
    if total == size_of(some_shapes):
        return

    before, after = (erdos_renyi_left(some_shapes, n) for n in (total, total + 1))

    assert all(old <= new for old, new in zip(before, after, strict=True))


def test_resnet_50_in_a_moment():
    some_shapes = [(3, 3, 512, 512)] * 3 + [(1, 1, 1024, 2048)] * 3 + [(2048, 1000)]

    left = erdos_renyi_left(some_shapes, size_of(some_shapes) // 10)

    assert sum(left) == size_of(some_shapes) // 10
    assert len(set(left)) == 3
