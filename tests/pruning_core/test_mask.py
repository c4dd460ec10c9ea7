import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from pruning_core import mask as selection
from pruning_core.criterion import Magnitudes, magnitude
from pruning_core.errors import NonFiniteWeightsError, PruningConfigError
from pruning_core.mask import count_pruned, keep_highest, prune_lowest

fractions = st.floats(0, 1, exclude_max=True)
# Few distinct values, so that most examples are full of ties.
scores = npst.arrays(
    dtype=st.sampled_from([np.float32, np.float64]),
    shape=npst.array_shapes(min_dims=1, max_dims=4, max_side=6),
    elements=st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, 3.0]),
) | npst.arrays(
    dtype=np.float32, shape=st.integers(1, 200), elements=st.floats(-1e6, 1e6, width=32)
)


def kept_by_full_sort(values, sparsity):
    """The rule, read aloud: rank by score, of equal scores the later one is worth less."""
    ranking = sorted(range(values.size), key=lambda at: (values.flat[at], -at))
    pruned = set(ranking[: round(values.size * sparsity)])
    return np.array([at not in pruned for at in range(values.size)]).reshape(values.shape)


@pytest.mark.parametrize(
    ("values", "sparsity", "expected"),
    [
        pytest.param(range(1, 11), 0.2, "..########", id="the two lowest of ten"),
        pytest.param([1, 1, 1, 1], 0.5, "##..", id="all equal: the last two go"),
        pytest.param([2, 1, 1, 3, 1], 0.4, "##.#.", id="ties at the threshold"),
        pytest.param([0, 0, 0, 5], 0.5, "#..#", id="fewer than the zeros"),
        pytest.param([0, 0, 4, 5], 0.75, "...#", id="more than the zeros"),
        pytest.param([3, 1, 2], 0.0, "###", id="nothing"),
        pytest.param([3, 1, 2], 0.99, "...", id="all, where the count says so"),
        pytest.param([3, 1, 2], 0.5, "#..", id="1.5 rounds to 2"),
        pytest.param([5, 4, 3, 2, 1], 0.5, "###..", id="2.5 rounds to 2"),
        pytest.param([7], 0.5, "#", id="0.5 rounds to 0"),
        pytest.param([-5, -1, 0], 0.34, ".##", id="scores may be negative"),
        pytest.param([], 0.5, "", id="nothing to prune"),
    ],
)
def test_keeps(values, sparsity, expected):
    mask = keep_highest(np.array(values, dtype=np.float32), sparsity)

    assert "".join("#" if kept else "." for kept in mask) == expected


def test_later_means_later_in_c_order():
    mask = keep_highest(np.ones((2, 3)), 0.5)

    assert mask.tolist() == [[True, True, True], [False, False, False]]


def test_order_in_memory_does_not_matter():
    values = np.asfortranarray(np.array([[1.0, 1.0], [1.0, 2.0]]))

    assert keep_highest(values, 0.5).tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize(
    ("size", "sparsity", "pruned"),
    [(10, 0.25, 2), (10, 0.35, 4), (6, 0.75, 4), (2, 0.75, 2), (3_211_264, 0.9, 2_890_138)],
)
def test_halves_round_to_even(size, sparsity, pruned):
    assert count_pruned(size, sparsity) == pruned


@given(scores, fractions)
def test_prunes_exactly_as_many_as_asked(values, sparsity):
    mask = keep_highest(values, sparsity)

    assert mask.shape == values.shape
    assert np.count_nonzero(~mask) == round(sparsity * values.size)


@given(scores, fractions)
def test_no_pruned_score_outranks_a_kept_one(values, sparsity):
    mask = keep_highest(values, sparsity)

    assert values[~mask].max(initial=-np.inf) <= values[mask].min(initial=np.inf)


@given(scores, fractions)
def test_equals_a_full_sort(values, sparsity):
    assert (keep_highest(values, sparsity) == kept_by_full_sort(values, sparsity)).all()


def kept_by_lexsort(values, pruned):
    """The same rule for a tensor of millions."""
    ranking = np.lexsort((-np.arange(values.size), values.ravel()))
    mask = np.ones(values.size, dtype=bool)
    mask[ranking[:pruned]] = False
    return mask.reshape(values.shape)


@given(scores, st.data())
def test_a_bracket_leads_to_the_mask_or_is_known_to_miss(values, data):
    edges = st.sampled_from([-np.inf, np.inf, *values.ravel().tolist()])
    low, high = sorted((data.draw(edges), data.draw(edges)))
    pruned = data.draw(st.integers(0, values.size))
    ranked = np.sort(values, axis=None)

    mask = selection._kept_by_bracket(values.ravel(), pruned, selection._Bracket(low, high))

    if mask is None:
        assert pruned == 0 or not low <= ranked[pruned - 1] <= high
    else:
        assert (mask == kept_by_lexsort(values.ravel(), pruned)).all()


def large(size, *, zeros=0.0, steps=None):
    values = np.abs(np.random.default_rng(1).standard_normal(size, dtype=np.float32))
    if steps:
        values = np.ceil(values * steps) / steps
    values[np.random.default_rng(2).random(size) < zeros] = 0
    return values.reshape(2, -1)


SIZE = 2 * selection._STRETCH + 2


@pytest.mark.parametrize(
    ("values", "sparsity"),
    [
        pytest.param(large(SIZE), 0.8, id="no ties"),
        pytest.param(large(SIZE), 1e-6, id="hardly any"),
        pytest.param(large(SIZE), 1 - 1e-6, id="nearly all"),
        pytest.param(large(SIZE, zeros=0.5), 0.6, id="more than the zeros"),
        pytest.param(large(SIZE, zeros=0.5), 0.3, id="fewer than the zeros"),
        pytest.param(large(SIZE, zeros=0.5), 0.5, id="about as many as the zeros"),
        pytest.param(large(SIZE, steps=3), 0.7, id="few distinct scores"),
        pytest.param(np.ones((2, SIZE // 2)), 0.5, id="all equal"),
        pytest.param(np.arange(SIZE)[::-1].astype(np.float64).reshape(2, -1), 0.9, id="in order"),
    ],
)
def test_a_large_tensor_is_ranked_like_a_small_one(values, sparsity):
    mask = keep_highest(values, sparsity)

    assert (mask == kept_by_lexsort(values, round(SIZE * sparsity))).all()


def test_a_sample_that_misleads_changes_nothing(monkeypatch):
    values = large(SIZE)
    misled = selection._Bracket(2.5, 3.0)
    monkeypatch.setattr(selection, "_guessed_bracket", lambda *_: misled)

    mask = keep_highest(values, 0.5)

    assert (mask == kept_by_lexsort(values, SIZE // 2)).all()


@pytest.mark.parametrize("at", [0, SIZE - 1])
@pytest.mark.parametrize("pruned", [0, 1000, SIZE])
def test_a_large_tensor_with_one_score_that_cannot_be_ranked_is_refused(at, pruned):
    values = large(SIZE)
    values.flat[at] = np.nan

    with pytest.raises(NonFiniteWeightsError, match=f"Received: 1 of {SIZE}"):
        prune_lowest(values, pruned)


@given(
    npst.arrays(
        st.sampled_from([np.float16, np.float32, np.float64]),
        npst.array_shapes(),
        elements=st.floats(-4, 4, width=16),
    ),
    fractions,
)
def test_magnitudes_that_are_not_held_are_ranked_as_if_they_were(weights, sparsity):
    lazily = keep_highest(Magnitudes(weights), sparsity)

    assert (lazily == keep_highest(magnitude(weights), sparsity)).all()


@given(scores, fractions, fractions)
def test_a_higher_sparsity_prunes_what_a_lower_one_does(values, one, other):
    low, high = sorted((one, other))

    assert not (keep_highest(values, high) & ~keep_highest(values, low)).any()


@given(scores, fractions)
def test_leaves_the_scores_as_they_are(values, sparsity):
    before = values.copy()

    keep_highest(values, sparsity)

    assert (values == before).all()


def test_what_is_pruned_stays_pruned_when_the_sparsity_rises():
    weights = np.array([5.0, -1.0, 3.0, 0.0, -2.0, 4.0])

    survivors = []
    for sparsity in (0.2, 0.5, 0.8):
        weights = np.where(keep_highest(magnitude(weights), sparsity), weights, 0)
        survivors.append(weights[weights != 0].tolist())

    assert survivors == [[5, -1, 3, -2, 4], [5, 3, 4], [5]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_cannot_be_ranked_are_refused(bad):
    with pytest.raises(NonFiniteWeightsError, match=r"finite\. Received: 1 of 3"):
        keep_highest(np.array([1.0, bad, 2.0]), 0.5)


def test_finite_scores_whose_sum_overflows_are_ranked():
    largest = np.finfo(np.float64).max

    assert keep_highest(np.array([largest, largest, 1.0]), 0.4).tolist() == [True, True, False]


@pytest.mark.parametrize("sparsity", [1.0, 50, -0.1, np.nan])
def test_a_sparsity_that_is_no_fraction_is_refused(sparsity):
    with pytest.raises(PruningConfigError, match=r"\[0, 1\)"):
        keep_highest(np.ones(4), sparsity)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)],
)
def test_magnitude_is_the_absolute_value_in_a_dtype_that_can_be_ranked(dtype, expected):
    scores = magnitude(np.array([-2, 0.5, -0.0], dtype=dtype))

    assert scores.dtype == expected
    assert scores.tolist() == [2, 0.5, 0]
