import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.errors import RangeNotSatisfiableError
from app.api.ranges import ByteRange, requested_range


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        pytest.param("bytes=0-0", 0, 1, id="the first byte"),
        pytest.param("bytes=2-5", 2, 6, id="some"),
        pytest.param("bytes=7-", 7, 10, id="the rest"),
        pytest.param("bytes=7-99", 7, 10, id="beyond the end"),
        pytest.param("bytes=-3", 7, 10, id="the last three"),
        pytest.param("bytes=-99", 0, 10, id="the last of more than there are"),
        pytest.param("Bytes= 2-5", 2, 6, id="spelt otherwise"),
    ],
)
def test_a_range_names_its_bytes(header, start, end):
    assert requested_range(header, size=10) == ByteRange(start, end)


@pytest.mark.parametrize(
    "header",
    ["", "bytes=", "bytes=-", "bytes=5-2", "bytes=0-1,4-5", "lines=1-2", "bytes=a-b", "2-5"],
)
def test_what_is_no_single_range_asks_for_the_whole_file(header):
    assert requested_range(header, size=10) is None


@pytest.mark.parametrize(
    ("header", "size"),
    [("bytes=10-", 10), ("bytes=99-100", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-5", 0)],
)
def test_a_range_behind_the_end_is_refused(header, size):
    with pytest.raises(RangeNotSatisfiableError, match=f"size: {size} bytes"):
        requested_range(header, size=size)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 40))
def test_a_range_never_leaves_the_file_and_is_never_empty(first, last, size):
    try:
        wanted = requested_range(f"bytes={first}-{last}", size=size)
    except RangeNotSatisfiableError:
        assert first >= size
        return

    assert wanted is None or 0 <= wanted.start < wanted.end <= size
