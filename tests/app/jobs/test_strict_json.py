import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.jobs.strict_json import parse_json

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # Text that UTF-8 can write.
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


@settings(deadline=None)
@given(values)
def test_whatever_json_writes_is_read_back(value):
    raw = json.dumps(value)

    assert parse_json(raw, max_bytes=10**6, max_depth=100) == value
    assert parse_json(raw.encode(), max_bytes=10**6, max_depth=100) == value


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        pytest.param("", "must be JSON. Received: Expecting value at line 1, column 1", id="empty"),
        pytest.param('{"a": 1', "must be JSON. Received: Expecting ',' delimiter", id="cut off"),
        pytest.param("{} {}", "must be JSON. Received: Extra data", id="two values"),
        pytest.param('{"a": 1, "a": 1}', 'each key once. Received: "a" twice', id="same key"),
        pytest.param('[{"b": {"a": 1, "a": 2}}]', 'Received: "a" twice', id="same key inside"),
        pytest.param("NaN", "a number must be finite. Received: NaN", id="NaN"),
        pytest.param("[-Infinity]", "a number must be finite. Received: -Infinity", id="infinity"),
        pytest.param("1e999", "a number must be finite. Received: 1e999", id="overflow"),
        pytest.param("9" * 5000, "a number must be finite. Received: 999", id="5000 digits"),
        pytest.param(b"\xff", "must be UTF-8. Received: invalid start byte at byte 0", id="bytes"),
        pytest.param("\ud800", "must be UTF-8", id="half of a pair, raw"),
        pytest.param(r'"\ud800"', "half of a surrogate pair", id="half of a pair, escaped"),
        pytest.param(r'{"\udc00": 1}', "half of a surrogate pair", id="half of a pair as key"),
        pytest.param("[" * 5 + "]" * 5, "nested at most 4 deep", id="one too deep"),
        pytest.param('{"a":' * 5 + "1" + "}" * 5, "nested at most 4 deep", id="objects too deep"),
        pytest.param("[" * 10_000, "nested at most 4 deep", id="much too deep"),
        pytest.param(" " * 10_001, "at most 10000 bytes here. Received: 10001", id="too long"),
    ],
)
def test_what_two_readers_could_take_differently_is_refused(raw, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_json(raw, max_bytes=10_000, max_depth=4)


def test_the_greatest_depth_is_allowed():
    assert parse_json("[[[[]]]]", max_bytes=100, max_depth=4) == [[[[]]]]
