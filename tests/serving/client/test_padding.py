"""Rows of one width from lists of any length, against the slow obvious way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_client.errors import InvalidRequest
from serving_client.padding import encode, newest, pad, parts, rounded_up

ids = st.lists(st.text(st.characters(codec="utf-8"), min_size=1), max_size=30)
widths = st.integers(1, 12)


@given(ids)
def test_ids_are_encoded_in_their_order(items):
    assert [item.decode() for item in encode(items, "history")] == items


@given(ids, widths)
def test_of_a_history_the_newest_are_kept_in_order(items, width):
    kept = list(newest(items, width))
    expected = []
    for item in reversed(items):
        if len(expected) < width:
            expected.insert(0, item)
    assert kept == expected
    row = pad(encode(kept, "history"), width)
    assert len(row) == width
    assert row[: len(kept)] == [item.encode() for item in kept]
    assert set(row[len(kept) :]) <= {b""}


@given(ids, widths)
def test_parts_hold_all_in_order_and_each_has_the_width(items, width):
    rows = parts(encode(items, "candidates"), width)
    assert all(len(row) == width for row in rows)
    assert [item.decode() for row in rows for item in row if item] == items
    assert all(b"" not in row for row in rows[:-1])
    assert len(rows) * width - len(items) < width


@given(st.integers(0, 1000), widths)
def test_rounded_up_is_the_smallest_multiple_that_holds_them(longest, width):
    slow = width
    while slow < longest:
        slow += width
    assert rounded_up(longest, width) == slow


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("abc", r"history is one str, not a list of ids; write \['abc'\]"),
        (b"abc", "history is one bytes"),
        (5, "history is int, not a list of ids"),
        (["a", None], r"history\[1\] is NoneType None"),
        (["a", "b\udc00"], r"history\[1\] 'b\\udc00' is not valid UTF-8"),
        (["a", "", "b"], r"history\[1\] is empty"),
    ],
)
def test_what_is_no_list_of_ids_is_named_with_its_place(wrong, says):
    with pytest.raises(InvalidRequest, match=says):
        encode(wrong, "history")
