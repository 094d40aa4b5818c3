"""Fields of a snapshot: a whole column is checked as each of its values is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving_client.snapshots.fields import SnapshotError, column, count, number, positive, time_us

Check = Callable[[str, Any, str], float]
TIMES = st.sampled_from(["2026-11-24T06:00:00Z", "2026-11-24T07:00:00.000001Z"])
GOOD: dict[Check, st.SearchStrategy[Any]] = {
    number: st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False),
    positive: st.integers(0, 2**53) | st.floats(0, allow_infinity=False),
    count: st.integers(0, 2**53),
    time_us: TIMES,
}
ANY = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | TIMES | st.lists(st.integers())


@pytest.mark.parametrize("check", GOOD)
@given(data=st.data())
def test_a_column_has_the_values_that_each_check_returns(check: Check, data: st.DataObject) -> None:
    entries = [{"v": value} for value in data.draw(st.lists(GOOD[check]))]
    assert column("rows", entries, "v", check).tolist() == [check("", entry, "v") for entry in entries]


@given(
    entries=st.lists(ANY | st.fixed_dictionaries({"v": ANY}), min_size=1, max_size=3), check=st.sampled_from([*GOOD])
)
@example(entries=[{"v": 2**53 + 1}], check=count)
@example(entries=[{"v": 1.0}], check=count)
@example(entries=[{"v": 10**400}], check=number)
@example(entries=[{"v": float("nan")}], check=positive)
@example(entries=[{"v": True}], check=number)
@example(entries=[{}], check=number)
def test_a_column_raises_what_the_first_failing_check_raises(entries: list[Any], check: Check) -> None:
    try:
        expected: list[float] | str = [check(f"rows[{at}]", entry, "v") for at, entry in enumerate(entries)]
    except SnapshotError as error:
        expected = str(error)
    try:
        found: list[float] | str = column("rows", entries, "v", check).tolist()
    except SnapshotError as error:
        found = str(error)
    assert found == expected
