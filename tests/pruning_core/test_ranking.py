import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruning_core.granularity import Units
from pruning_core.ranking import Ranking, lowest_of_all

# Whole numbers, few of them distinct: ties everywhere, and sums that are exact.
worths = st.lists(st.integers(0, 4).map(float), min_size=1, max_size=8)
sizes = st.integers(1, 5)


def ranking(scores, size=1):
    return Ranking.of(Units(np.array(scores, dtype=np.float64), size, spread=np.asarray))


def total_of(tensors):
    return sum(int(np.broadcast_to(tensor.sizes, tensor.scores.shape).sum()) for tensor in tensors)


def counts_by_hand(tensors, weights):
    """All units in one list, the weakest first; then the length whose weights are nearest."""
    listed = sorted(
        (score, -place, -at, int(size))
        for place, tensor in enumerate(tensors)
        for at, (score, size) in enumerate(
            zip(tensor.scores, np.broadcast_to(tensor.sizes, tensor.scores.shape), strict=True)
        )
    )
    gone = [0, *itertools.accumulate(size for *_, size in listed)]
    count = min(range(len(gone)), key=lambda n: (abs(gone[n] - weights), n))
    return [sum(-place == at for _, place, *_ in listed[:count]) for at in range(len(tensors))]


@pytest.mark.parametrize(
    ("tensors", "weights", "counts"),
    [
        pytest.param([ranking([5, 1]), ranking([2, 9])], 2, [1, 1], id="the two weakest"),
        pytest.param([ranking([1, 2]), ranking([8, 9])], 2, [2, 0], id="both of one tensor"),
        pytest.param([ranking([1, 1]), ranking([1, 1])], 3, [1, 2], id="ties: the later tensor"),
        pytest.param([ranking([1, 2])], 9, [2], id="more than there are"),
        pytest.param([ranking([1, 2], 4), ranking([3], 1)], 5, [1, 0], id="4 or 8: 4 is nearer"),
        pytest.param([ranking([1, 2], 4), ranking([3], 1)], 7, [2, 0], id="4 or 8: 8 is nearer"),
        pytest.param([ranking([1, 2], 4)], 6, [1], id="4 or 8: equally near, the lower"),
        pytest.param([ranking([1, 2], 4)], 1, [0], id="0 is nearer than 4"),
    ],
)
def test_how_many_of_each_go(tensors, weights, counts):
    assert lowest_of_all(tensors, weights) == counts


@given(
    st.lists(st.tuples(worths, sizes), min_size=1, max_size=4),
    st.integers(0, 60),
)
def test_equals_one_long_list(drawn, weights):
    tensors = [ranking(scores, size) for scores, size in drawn]

    assert lowest_of_all(tensors, weights) == counts_by_hand(tensors, weights)


@given(st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=6), min_size=1, max_size=3))
def test_units_of_unlike_sizes_go_until_the_total_is_nearest(drawn):
    tensors = [ranking(np.arange(len(sizes)) / 2, np.array(sizes) + 1) for sizes in drawn]

    for weights in range(total_of(tensors) + 2):
        assert lowest_of_all(tensors, weights) == counts_by_hand(tensors, weights)


def test_scores_of_two_precisions_are_compared_as_numbers():
    wide = Ranking(np.array([0.1, 0.7]), 1)
    narrow = Ranking(np.array([0.1, 0.7], np.float32), 1)  # 0.1 is above, 0.7 below what it was

    assert [lowest_of_all([wide, narrow], count) for count in range(5)] == [
        [0, 0],
        [1, 0],
        [1, 1],
        [1, 2],
        [2, 2],
    ]


def test_scores_beyond_the_narrower_precision_are_higher_than_all_in_it():
    wide, narrow = Ranking(np.array([1e300]), 1), Ranking(np.array([3e38], np.float32), 1)

    assert lowest_of_all([wide, narrow], 1) == [0, 1]


@given(st.lists(worths, min_size=1, max_size=4), st.data())
def test_of_units_of_one_size_each_exactly_as_many_go_as_asked(drawn, data):
    tensors = [ranking(scores) for scores in drawn]
    weights = data.draw(st.integers(0, total_of(tensors)))

    assert sum(lowest_of_all(tensors, weights)) == weights


@given(worths)
def test_units_of_unlike_sizes_go_in_the_order_of_a_mask(scores):
    values = np.array(scores)
    by_mask = sorted(range(values.size), key=lambda at: (values[at], -at))

    rising = ranking(scores, np.arange(values.size))

    assert rising.sizes.tolist() == by_mask
    assert rising.scores.tolist() == sorted(scores)


def lamp_by_hand(scores):
    rising = sorted(Fraction(score) for score in scores)
    left = [sum(value**2 for value in rising[at:]) for at in range(len(rising))]
    return [value**2 / rest if rest else 0 for value, rest in zip(rising, left, strict=True)]


@given(worths)
def test_lamp_is_the_formula_in_fractions(scores):
    lamp = ranking(scores).layer_adaptive().scores

    assert lamp.tolist() == [float(score) for score in lamp_by_hand(scores)]


@given(worths, st.sampled_from([1e-30, 1e-3, 1e30, 1e300]))
def test_lamp_does_not_know_the_scale_of_a_tensor(scores, scale):
    plain, scaled = (
        ranking(np.array(scores) * factor).layer_adaptive().scores for factor in (1.0, scale)
    )

    np.testing.assert_allclose(scaled, plain, rtol=1e-12)


def test_lamp_of_a_tensor_of_zeros_is_zero():
    assert ranking([0.0, 0.0]).layer_adaptive().scores.tolist() == [0, 0]


def test_lamp_leaves_the_strongest_of_every_tensor_for_last():
    one, other = (ranking(scores).layer_adaptive() for scores in ([1, 2, 3], [100, 200, 300]))

    assert one.scores[-1] == other.scores[-1] == 1
    assert lowest_of_all([one, other], 4) == [2, 2]
