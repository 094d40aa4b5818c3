"""Values by their places in bytes are the values that Python reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving_client.contracts.times import BEFORE_ALL_US, format_time, parse_time
from tests.transforms.attribution.parsing.record_lines import times
from transforms.attribution.parsing.spans import distinct, equal, floats, micro_units, texts, times_us

Places = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32], npt.NDArray[np.int32]]


def placed(values: Sequence[str | None]) -> Places:
    """Values one after the other, a quote between them; None is absent."""
    data, begin, end = b'"', [], []
    for value in values:
        begin.append(-1 if value is None else len(data))
        data += (value or "").encode()
        end.append(-1 if value is None else len(data))
        data += b'"'
    return np.frombuffer(data, np.uint8), np.array(begin, np.int32), np.array(end, np.int32)


any_times = times | st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999).map(format_time)
nearly_times = st.builds(
    lambda text, at, byte: text[:at] + byte + text[at + 1 :],
    any_times,
    st.integers(0, 32),
    st.sampled_from([*"0123456789-:TZ+. ", "", "é"]),
)


@given(column=st.lists(st.none() | any_times | nearly_times, max_size=5))
@example(column=["1969-12-31T23:59:59.999999Z", "1600-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "", "Z", "+00:00"])
def test_times_are_those_of_parse_time(column: list[str | None]) -> None:
    moments, wrong = times_us(*placed(column))
    for text, moment, is_wrong in zip(column, moments.tolist(), wrong.tolist(), strict=True):
        if text is None:
            assert (moment, is_wrong) == (BEFORE_ALL_US, False)
        elif is_wrong:
            with pytest.raises(ValueError):
                parse_time(text)
        else:
            assert moment == parse_time(text)


numbers = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "-"]),
    st.integers(0, 2 * 10**9) | st.integers(0, 10**18),
    st.just("") | st.text("0123456789", min_size=1, max_size=8).map(".{}".format),
)


@given(column=st.lists(st.none() | numbers, max_size=5))
@example(column=["1000000000", "1000000000.000001", "-1000000000", "-0.0", "0.1234567", "99999999999999999999"])
def test_amounts_are_the_nearest_micro_units_or_doubted(column: list[str | None]) -> None:
    amounts, wrong = micro_units(*placed(column))
    for text, amount, is_wrong in zip(column, amounts.tolist(), wrong.tolist(), strict=True):
        if text is None or is_wrong:
            assert text is None or len(text.partition(".")[2]) > 6 or abs(float(text)) >= 10**9
        else:
            assert amount == round(float(text) * 10**6)
            assert abs(amount) <= 10**15


@given(
    column=st.lists(
        st.floats(0, 1).map(repr) | st.sampled_from(["0", "1", "1.0", "0.500", "0." + "3" * 40]), max_size=5
    )
)
def test_floats_are_pythons(column: list[str]) -> None:
    assert floats(*placed(column)).tolist() == [float(text) for text in column]


@given(column=st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=6))
def test_texts_are_copied_and_absent_ones_empty(column: list[str | None]) -> None:
    assert texts(*placed(column)).to_pylist() == [text or "" for text in column]


pairs = st.lists(
    st.tuples(st.none() | st.sampled_from(["a", "b", "ab", ""]), st.sampled_from(["a", "b", "bb", ""])), max_size=9
)


@given(rows=pairs)
def test_two_values_are_equal_where_both_are_there_with_the_same_bytes(rows: list[tuple[str | None, str]]) -> None:
    data, begin, end = placed([value for row in rows for value in row])
    same = equal(data, begin[::2], end[::2], begin[1::2], end[1::2])
    assert same.tolist() == [one is not None and one == other for one, other in rows]


@given(rows=pairs, data=st.data())
def test_distinct_numbers_rows_by_their_values_in_the_order_they_come(
    rows: list[tuple[str | None, str]], data: st.DataObject
) -> None:
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), np.bool_)
    letters, begin, end = placed([value for row in rows for value in row])
    both = begin.reshape(-1, 2).T.copy(), end.reshape(-1, 2).T.copy()
    codes, firsts = distinct(letters, *both, mask)
    known: dict[tuple[str | None, str], int] = {}
    expected = [known.setdefault(row, len(known)) if there else -1 for row, there in zip(rows, mask, strict=True)]
    assert codes.tolist() == expected
    assert [rows[first] for first in firsts.tolist()] == list(known)


def test_distinct_holds_as_many_kinds_as_rows() -> None:
    column = [str(n) for n in range(1_000)]
    data, begin, end = placed(column * 2)
    codes, firsts = distinct(data, begin[None], end[None], np.ones(2_000, np.bool_))
    assert codes.tolist() == list(range(1_000)) * 2
    assert firsts.tolist() == list(range(1_000))
