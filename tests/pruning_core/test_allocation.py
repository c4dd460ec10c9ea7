import collections
import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from pruning_core.allocation import Level, forecast, masks, planned_units
from pruning_core.catalogue import layout
from pruning_core.config import (
    Block,
    Channel,
    ErdosRenyiKernel,
    Global,
    LayerAdaptive,
    NOfM,
    Uniform,
    Unstructured,
)
from pruning_core.criterion import Magnitudes
from pruning_core.errors import NonFiniteWeightsError
from pruning_core.granularity import Kernel, units_of
from pruning_core.mask import count_pruned

BY_SHAPE = [Uniform(), ErdosRenyiKernel()]
BY_WEIGHT = [Global(), Global(floor=0.0), Global(floor=1.0), LayerAdaptive()]

allocations = st.sampled_from(BY_SHAPE + BY_WEIGHT)
granularities = st.sampled_from(
    [
        Unstructured(),
        Channel(),
        Block(block_size=(2, 2)),
        Block(block_size=(3, 1), pooling="max"),
        NOfM(zeros=2, group=4),
        NOfM(zeros=1, group=3),
    ]
)
fractions = st.floats(0, 1, exclude_max=True)
# Few distinct values, so that most examples are full of ties.
values = st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 3.0])


def kernel(*shape, granularity=None):
    lies = layout("Conv2D", "kernel", rank=len(shape))
    return Kernel(shape, granularity or Unstructured(), lies)


def zeros(chosen):
    return [int(np.count_nonzero(~mask)) for mask in chosen]


def pruned(allocation, weights, sparsity, *, last_sparsity=None, granularity=None):
    """Return how many of each tensor go."""
    arrays = [np.abs(np.array(tensor, dtype=np.float32)) for tensor in weights]
    kernels = [kernel(*array.shape, granularity=granularity) for array in arrays]
    level = Level(sparsity, sparsity if last_sparsity is None else last_sparsity)
    return zeros(masks(allocation, kernels, arrays, level))


@st.composite
def networks(draw, of=granularities):
    """Kernels and scores of one to four tensors."""
    shape = st.lists(st.integers(1, 5), min_size=2, max_size=3).map(tuple)
    shapes = draw(st.lists(shape, min_size=1, max_size=4))
    scores = [draw(npst.arrays(np.float32, shape, elements=values)) for shape in shapes]
    return [kernel(*shape, granularity=draw(of)) for shape in shapes], scores


@st.composite
def rises(draw):
    """Two levels of one schedule, the lower first."""
    low, high, last = sorted((draw(fractions), draw(fractions), draw(fractions)))
    last = max(last, 1e-3)
    return Level(low, last), Level(high, last)


# Worked examples.
EQUAL, SMALL, LARGE = [[4, 3], [2, 1]], [[0.1, 0.2], [0.3, 0.4]], [[10, 20], [30, 40]]


@pytest.mark.parametrize(
    ("allocation", "weights", "expected"),
    [
        pytest.param(Uniform(), [EQUAL, LARGE], [2, 2], id="uniform: half of each"),
        pytest.param(Global(), [SMALL, LARGE], [3, 1], id="global: the small, but for one"),
        pytest.param(Global(floor=0.0), [SMALL, LARGE], [3, 1], id="one is left in any case"),
        pytest.param(Global(floor=1.0), [SMALL, LARGE], [2, 2], id="a floor of 1 is uniform"),
        pytest.param(Global(), [EQUAL, EQUAL], [2, 2], id="global: equals"),
        pytest.param(Global(), [[[1, 1]], [[1, 1]]], [1, 1], id="ties, and one is left"),
        pytest.param(LayerAdaptive(), [SMALL, LARGE], [2, 2], id="layer-adaptive: no scale"),
        pytest.param(
            LayerAdaptive(),
            [[[1, 1, 1, 1]], [[1, 2, 4, 8]]],
            [1, 3],
            id="layer-adaptive: where a few hold most",
        ),
        pytest.param(
            ErdosRenyiKernel(), [np.ones((2, 2)), np.ones((10, 4))], [0, 22], id="by the sides"
        ),
    ],
)
def test_half_is_shared(allocation, weights, expected):
    assert pruned(allocation, weights, 0.5) == expected


def test_a_floor_is_a_share_of_what_uniform_leaves():
    weak, strong = np.full((10, 10), 0.1), np.ones((30, 10))

    # Uniform would leave 50 of the weak one.
    assert pruned(Global(floor=0.0), [weak, strong], 0.5) == [99, 101]
    assert pruned(Global(floor=0.1), [weak, strong], 0.5) == [95, 105]
    assert pruned(Global(floor=0.5), [weak, strong], 0.5) == [75, 125]


def test_a_floor_counts_in_the_end_and_not_on_the_way():
    weak, strong = np.full((10, 10), 0.1), np.ones((30, 10))

    # Uniform would leave 70 of the weak one at 0.3, and 20 of it at 0.8.
    assert pruned(Global(), [weak, strong], 0.3, last_sparsity=0.8) == [98, 22]
    assert pruned(Global(), [weak, strong], 0.8, last_sparsity=0.8) == [98, 222]


def test_whole_filters_come_as_near_to_the_weights_asked_as_they_can():
    narrow, wide = np.full((2, 10), 0.1), np.ones((10, 10))

    # 60 of 120 weights: nine filters of 2, then four of 10.
    assert pruned(Global(), [narrow, wide], 0.5, granularity=Channel()) == [18, 40]


def test_a_pattern_goes_its_own_way_whatever_the_allocation():
    kernels = [kernel(4, 4), kernel(4, 4, granularity=NOfM(zeros=2, group=4))]
    scores = [np.full((4, 4), 9.0), np.arange(16.0).reshape(4, 4)]

    for allocation in BY_SHAPE + BY_WEIGHT:
        ways = [zeros(masks(allocation, kernels, scores, Level(s, 0.5))) for s in (0.25, 0.5)]

        assert ways == [[4, 4], [8, 8]]


def fates(one, scores, mask):
    """Return the worth of each unit, and whether it is kept; it is kept or pruned whole."""
    units = units_of(scores, one)
    for at, alone in enumerate(np.eye(one.units, dtype=np.bool_)):
        members = mask[~units.spread(~alone)]
        assert members.all() == members.any()
        yield units.scores[at], bool(members.all())


@given(networks(), allocations, rises())
def test_no_pruned_unit_of_a_tensor_outranks_a_kept_one(network, allocation, levels):
    chosen = masks(allocation, *network, levels[1])

    for one, scores, mask in zip(*network, chosen, strict=True):
        worths = list(fates(one, scores, mask))
        kept = [worth for worth, is_kept in worths if is_kept]
        gone = [worth for worth, is_kept in worths if not is_kept]
        assert max(gone, default=-math.inf) <= min(kept, default=math.inf)


@given(networks(), allocations, rises())
def test_masks_nest_as_the_sparsity_rises(network, allocation, levels):
    before, after = (list(masks(allocation, *network, level)) for level in levels)

    assert not any((new & ~old).any() for old, new in zip(before, after, strict=True))


@given(networks(), st.sampled_from(BY_SHAPE), rises())
def test_what_shapes_decide_is_what_is_done(network, allocation, levels):
    kernels, _ = network
    promised = forecast(allocation, kernels, levels[1])

    done = zeros(masks(allocation, *network, levels[1]))

    for count, known in zip(done, promised.weights, strict=True):
        assert known in {None, count}
    if promised.is_exact:
        assert promised.total == sum(done)


@given(networks(of=st.just(Unstructured())), allocations, rises())
def test_single_weights_make_the_exact_total(network, allocation, levels):
    kernels, _ = network

    done = zeros(masks(allocation, *network, levels[1]))

    promised = forecast(allocation, kernels, levels[1])
    assert promised.is_exact
    assert promised.total == sum(done)
    asked = count_pruned(sum(one.size for one in kernels), levels[1].sparsity)
    match allocation:
        case Uniform():
            assert done == [count_pruned(one.size, levels[1].sparsity) for one in kernels]
        case ErdosRenyiKernel():
            assert sum(done) == asked
        case Global() | LayerAdaptive():
            assert sum(done) == min(asked, sum(most(allocation, one, levels[1]) for one in kernels))


def most(allocation, one, level):
    floor = allocation.floor if isinstance(allocation, Global) else 0
    left_by_uniform = one.units - round(one.units * level.last_sparsity)
    return one.units - max(1, math.ceil(floor * left_by_uniform))


@given(networks(of=granularities.filter(lambda g: not isinstance(g, NOfM))), rises())
def test_no_tensor_falls_below_its_floor(network, levels):
    for allocation in BY_WEIGHT:
        chosen = masks(allocation, *network, levels[1])

        for one, scores, mask in zip(*network, chosen, strict=True):
            gone = sum(not is_kept for _, is_kept in fates(one, scores, mask))
            assert gone <= most(allocation, one, levels[1])


@given(networks(), rises())
def test_a_pattern_is_complete_in_the_end_and_in_step_before(network, levels):
    kernels, _ = network
    patterns = [one for one in kernels if isinstance(one.granularity, NOfM)]

    for level in (*levels, Level(levels[0].last_sparsity, levels[0].last_sparsity)):
        counts = planned_units(Global(), patterns, level)

        assert counts == [
            round(one.units * (level.sparsity / level.last_sparsity)) for one in patterns
        ]


def test_global_equals_one_mask_over_everything():
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=shape) for shape in ((5, 8), (3, 3, 2, 4), (7, 6))]

    chosen = masks(
        Global(floor=0.0),
        [kernel(*w.shape) for w in weights],
        map(np.abs, weights),
        Level(0.6, 0.6),
    )

    together = np.abs(np.concatenate([w.ravel() for w in weights]))
    threshold = np.sort(together)[round(0.6 * together.size)]
    for mask, tensor in zip(chosen, weights, strict=True):
        assert (mask == (np.abs(tensor) >= threshold)).all()


def test_where_shapes_decide_the_tensors_are_read_one_by_one():
    kernels = [kernel(2, 2), kernel(2, 2)]
    read = []

    def scores():
        for at in itertools.count():
            read.append(at)
            yield np.ones((2, 2))

    next(masks(Uniform(), kernels, itertools.islice(scores(), 2), Level(0.5, 0.5)))

    assert read == [0]


@pytest.mark.parametrize(
    ("allocation", "times_the_weights"), [(Uniform(), 1.0), (Global(), 2.0), (LayerAdaptive(), 3.5)]
)
def test_a_large_model_is_not_held_many_times(allocation, times_the_weights):
    weights = np.random.default_rng(0).normal(size=(16, 2**16)).astype(np.float32)
    kernels = [kernel(*tensor.shape) for tensor in weights]
    scores = map(Magnitudes, weights)

    tracemalloc.start()
    try:
        collections.deque(masks(allocation, kernels, scores, Level(0.5, 0.5)), maxlen=0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < times_the_weights * weights.nbytes


@pytest.mark.parametrize("allocation", [Uniform(), Global(), LayerAdaptive()])
def test_weights_that_cannot_be_ranked_are_refused(allocation):
    with pytest.raises(NonFiniteWeightsError):
        list(masks(allocation, [kernel(1, 2)], [np.array([[np.nan, 1]])], Level(0.5, 0.5)))


def test_a_forecast_says_what_it_cannot_know():
    ragged, even = kernel(5, 1, granularity=Block()), kernel(8, 1, granularity=Block())

    uniform = forecast(Uniform(), [ragged, even], Level(0.5, 0.5))
    ranked = forecast(Global(), [even, kernel(2, 2)], Level(0.5, 0.5))

    # Of the ragged one's blocks, of 4 and of 1, one goes: about half of 5.
    assert (uniform.units, uniform.weights) == ((1, 1), (None, 4))
    assert (uniform.total, uniform.is_exact) == (2 + 4, False)
    assert (ranked.units, ranked.weights) == ((None, None), (None, None))
    assert (ranked.total, ranked.is_exact) == (6, False)
