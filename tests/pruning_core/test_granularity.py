import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from pruning_core.catalogue import Layout, layout
from pruning_core.config import Block, Channel, NOfM, Unstructured
from pruning_core.granularity import Kernel, reason_against, units_of
from pruning_core.mask import prune_lowest


def kernel(shape, granularity, class_name="Dense", equation=None):
    lies = layout(class_name, "kernel", rank=len(shape), equation=equation)
    return Kernel(tuple(shape), granularity, lies)


def pruned_to(scores, kernel, units):
    divided = units_of(np.asarray(scores, dtype=np.float32), kernel)
    return divided.spread(prune_lowest(divided.scores, units))


def drawn(mask):
    return ["".join("#" if kept else "." for kept in row) for row in mask]


FOUR_BY_FOUR = [
    [1, 2, 9, 1],
    [2, 1, 1, 9],
    [5, 5, 4, 4],
    [5, 5, 4, 4],
]


@pytest.mark.parametrize(
    ("granularity", "units", "expected"),
    [
        pytest.param(
            Block(block_size=(2, 2)),
            2,
            ["..##", "..##", "##..", "##.."],
            id="means 1.5, 5, 5, 4: the two weakest blocks",
        ),
        pytest.param(
            Block(block_size=(2, 2), pooling="max"),
            2,
            ["..##", "..##", "##..", "##.."],
            id="maxima 2, 9, 5, 4",
        ),
        pytest.param(
            Block(block_size=(1, 4)),
            2,
            ["....", "....", "####", "####"],
            id="rows of means 3.25, 3.25, 4.5, 4.5",
        ),
        pytest.param(
            Block(block_size=(1, 4)),
            1,
            ["####", "....", "####", "####"],
            id="of two equal rows the later",
        ),
        pytest.param(
            Block(block_size=(3, 3)),
            2,
            ["...#", "...#", "...#", "###."],
            id="means 10/3, 14/3, 14/3 and, of the corner alone, 4",
        ),
        pytest.param(Channel(), 2, ["..##"] * 4, id="the two weakest columns"),
        pytest.param(Channel(), 1, ["#.##"] * 4, id="of two equal columns the later"),
        pytest.param(
            NOfM(zeros=2, group=4),
            8,
            ["..#.", "...#", "####", "##.."],
            id="two of each column of four, of equal ones the later",
        ),
        pytest.param(
            NOfM(zeros=2, group=4),
            4,
            [".##.", "#..#", "####", "####"],
            id="on the way there, the lowest of those",
        ),
        pytest.param(Unstructured(), 5, [".##.", "...#", "####", "####"], id="single weights"),
    ],
)
def test_a_matrix_is_pruned_in_units(granularity, units, expected):
    mask = pruned_to(FOUR_BY_FOUR, kernel((4, 4), granularity), units)

    assert drawn(mask) == expected


def test_blocks_begin_at_the_first_entry():
    mask = pruned_to([[1], [1], [1], [9], [9]], kernel((5, 1), Block(block_size=(4, 1))), 1)

    assert drawn(mask) == [".", ".", ".", ".", "#"]


@pytest.mark.parametrize(
    ("channels", "pruned"),
    [
        pytest.param([3, 1, 4, 1, 5, 9, 2], "#.#.##.", id="3 of 7"),
        pytest.param([3, 1, 4, 1, 5, 9], "#.#.##", id="a group of two is filled up with its zeros"),
        pytest.param([3, 1, 4, 1, 5], "#.#.#", id="a group of one as well"),
        pytest.param([1, 1, 1, 1, 1, 1, 1, 1], "##..##..", id="all equal: the last two of each"),
        pytest.param([0, 0, 0, 1], "#..#", id="never more than two of a group"),
    ],
)
def test_two_of_four(channels, pruned):
    line = kernel((len(channels), 1), NOfM(zeros=2, group=4))

    mask = pruned_to([[value] for value in channels], line, line.units)

    assert "".join(drawn(mask)) == pruned


def test_groups_run_along_the_input_channels_of_a_convolution():
    scores = np.arange(2 * 1 * 4 * 3, dtype=np.float32).reshape(2, 1, 4, 3)
    pattern = NOfM(zeros=1, group=2)

    plain = pruned_to(scores, kernel(scores.shape, pattern, "Conv2D"), 12)
    transposed = pruned_to(
        scores.transpose(0, 1, 3, 2), kernel((2, 1, 3, 4), pattern, "Conv2DTranspose"), 12
    )

    assert plain[0, 0].tolist() == [[False] * 3, [True] * 3] * 2
    assert (plain == transposed.transpose(0, 1, 3, 2)).all()


def test_a_filter_is_all_that_leads_to_one_output():
    scores = np.ones((2, 2, 3, 4))
    scores[..., 2] = 0.5

    plain = pruned_to(scores, kernel(scores.shape, Channel(), "Conv2D"), 1)
    depthwise = pruned_to(scores, kernel(scores.shape, Channel(), "DepthwiseConv2D"), 1)

    assert np.argwhere(~plain.all(axis=(0, 1, 2))).tolist() == [[2]]
    assert np.argwhere(~depthwise.all(axis=(0, 1))).tolist() == [[2, 2]]


def test_a_filter_is_worth_its_root_mean_square():
    scores = np.array([[3.0, 1.0], [4.0, 1.0]])

    assert units_of(scores, kernel((2, 2), Channel())).scores.tolist() == [math.sqrt(12.5), 1]


def test_sums_do_not_overflow_where_the_weights_do_not():
    huge = np.full((4, 2), np.finfo(np.float32).max)

    for granularity in (Block(block_size=(4, 1)), Channel()):
        assert np.isfinite(units_of(huge, kernel((4, 2), granularity)).scores).all()


@pytest.mark.parametrize(
    ("granularity", "lies", "reason"),
    [
        (Unstructured(), layout("Custom", "scale", rank=1), None),
        (Block(), layout("Custom", "scale", rank=1), "block needs a matrix"),
        (Channel(), layout("Custom", "scale", rank=0), "channel needs a matrix"),
        (NOfM(), layout("Custom", "scale", rank=1), "n_of_m needs a matrix"),
        (NOfM(), layout("DepthwiseConv2D", "kernel", rank=4), "no input channels"),
        (NOfM(), layout("Embedding", "embeddings", rank=2), "no input channels"),
        (NOfM(), layout("Dense", "kernel", rank=2), None),
        (Block(), layout("DepthwiseConv2D", "kernel", rank=4), None),
        (Channel(), layout("EinsumDense", "kernel", rank=2, equation="abc,bc->abc"), "matrix"),
    ],
)
def test_a_tensor_that_cannot_be_had_in_such_units_says_why(granularity, lies, reason):
    found = reason_against(granularity, lies)

    assert found is None if reason is None else reason in found


granularities = st.one_of(
    st.just(Unstructured()),
    st.just(Channel()),
    st.builds(
        Block,
        block_size=st.tuples(st.integers(1, 4), st.integers(1, 3)),
        pooling=st.sampled_from(["mean", "max"]),
    ),
    st.integers(2, 5).flatmap(
        lambda group: st.builds(NOfM, zeros=st.integers(1, group - 1), group=st.just(group))
    ),
)
LAYERS = [
    ("Dense", 2, None),
    ("Conv1D", 3, None),
    ("Conv2D", 4, None),
    ("Conv2DTranspose", 4, None),
    ("EinsumDense", 3, "abc,cde->abde"),
    ("EinsumDense", 3, "ab,cab->c"),
]


@st.composite
def scored_kernels(draw):
    class_name, rank, equation = draw(st.sampled_from(LAYERS))
    shape = draw(st.tuples(*[st.integers(1, 5)] * rank))
    # Few distinct whole numbers: full of ties, and every sum is exact.
    values = st.integers(0, 4).map(float)
    scores = draw(npst.arrays(np.float32, shape, elements=values))
    return kernel(shape, draw(granularities), class_name, equation), scores


class ByHand:
    """The rules read aloud, weight by weight, in plain Python."""

    def __init__(self, kernel, scores):
        self.kernel, self.scores = kernel, scores
        self.members = self.members_by_key()

    def place(self, index, axes):
        """Return the number of ``index`` among all along ``axes``, counted in C order."""
        number = 0
        for axis in axes:
            number = number * self.kernel.shape[axis] + index[axis]
        return number

    def members_by_key(self):
        members = {}
        in_pattern = self.in_pattern() if isinstance(self.kernel.granularity, NOfM) else None
        for index in np.ndindex(self.kernel.shape):
            row = self.place(index, self.kernel.layout.inputs)
            column = self.place(index, self.kernel.layout.outputs)
            match self.kernel.granularity:
                case Unstructured():
                    key = index
                case Channel():
                    key = column
                case Block(block_size=(rows, columns)):
                    key = (row // rows, column // columns)
                case NOfM():
                    if index not in in_pattern:
                        continue
                    key = index
            members.setdefault(key, []).append(index)
        return members

    def in_pattern(self):
        pattern, axis = self.kernel.granularity, self.kernel.layout.channels
        groups = {}
        for index in np.ndindex(self.kernel.shape):
            line = index[:axis] + index[axis + 1 :]
            groups.setdefault((line, index[axis] // pattern.group), []).append(index)
        chosen = set()
        for group in groups.values():
            from_padding = pattern.group - len(group)
            ranking = sorted(group, key=lambda index: (self.scores[index], -index[axis]))
            chosen.update(ranking[: max(0, pattern.zeros - from_padding)])
        return chosen

    def worth(self, key):
        values = [float(self.scores[index]) for index in self.members[key]]
        match self.kernel.granularity:
            case Block(pooling="max"):
                return max(values)
            case Channel():
                return math.sqrt(math.fsum(value**2 for value in values) / len(values))
            case _:
                return math.fsum(values) / len(values)

    def pruned_to(self, units):
        ranking = sorted(enumerate(sorted(self.members)), key=lambda e: (self.worth(e[1]), -e[0]))
        mask = np.ones(self.kernel.shape, dtype=np.bool_)
        for _, key in ranking[:units]:
            for index in self.members[key]:
                mask[index] = False
        return mask


@given(scored_kernels(), st.floats(0, 1))
def test_equals_the_rules_read_aloud(scored, share):
    kernel, scores = scored
    by_hand = ByHand(kernel, scores)
    units = round(kernel.units * share)

    assert kernel.units == len(by_hand.members)
    assert (pruned_to(scores, kernel, units) == by_hand.pruned_to(units)).all()


@given(scored_kernels())
def test_the_sizes_of_the_units_are_what_they_hold(scored):
    kernel, scores = scored
    by_hand = ByHand(kernel, scores)
    sizes = [len(by_hand.members[key]) for key in sorted(by_hand.members)]

    divided = units_of(scores, kernel)

    assert np.broadcast_to(divided.sizes, len(sizes)).tolist() == sizes
    assert kernel.unit_size is None or set(sizes) <= {kernel.unit_size}


@given(scored_kernels(), st.floats(0, 1), st.floats(0, 1))
def test_masks_nest_as_more_units_go(scored, one, other):
    kernel, scores = scored
    few, many = sorted((round(kernel.units * one), round(kernel.units * other)))

    assert not (pruned_to(scores, kernel, many) & ~pruned_to(scores, kernel, few)).any()


@given(scored_kernels())
def test_of_every_group_at_most_zeros_go_and_in_the_end_exactly_so_many(scored):
    kernel, scores = scored
    pattern = NOfM(zeros=2, group=4)
    kernel = Kernel(kernel.shape, pattern, kernel.layout)
    mask = np.moveaxis(pruned_to(scores, kernel, kernel.units), kernel.layout.channels, -1)

    for start in range(0, mask.shape[-1], pattern.group):
        group = mask[..., start : start + pattern.group]
        filled_up = pattern.group - group.shape[-1]
        assert (np.count_nonzero(~group, axis=-1) == max(0, pattern.zeros - filled_up)).all()


def test_an_empty_tensor_has_no_units():
    for granularity in (Unstructured(), Channel(), Block(), NOfM()):
        empty = kernel((0, 0), granularity)

        assert empty.units == 0
        assert pruned_to(np.ones((0, 0)), empty, 0).shape == (0, 0)


def test_the_order_in_memory_does_not_matter():
    scores = np.arange(24, dtype=np.float32).reshape(4, 6) % 5

    for granularity in (Unstructured(), Channel(), Block(block_size=(2, 4)), NOfM()):
        lies = kernel((4, 6), granularity)
        expected = pruned_to(scores, lies, lies.units // 2)

        assert (pruned_to(np.asfortranarray(scores), lies, lies.units // 2) == expected).all()


def test_a_layout_may_have_its_outputs_in_front():
    scores = np.array([[1.0, 1.0, 9.0], [9.0, 9.0, 9.0]])
    turned = Kernel((2, 3), Channel(), Layout(inputs=(1,), outputs=(0,), channels=1))

    assert drawn(pruned_to(scores, turned, 1)) == ["...", "###"]
