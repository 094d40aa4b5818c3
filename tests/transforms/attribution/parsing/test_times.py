"""A column of times is parsed like each time alone."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving_client.contracts.times import BEFORE_ALL_US, format_time, parse_time
from tests.transforms.attribution.parsing.record_lines import times
from transforms.attribution.parsing.times import NO_TIME_US, times_us

any_times = times | st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999).map(format_time)
nearly_times = st.builds(
    lambda text, at, byte: text[:at] + byte + text[at + 1 :],
    any_times,
    st.integers(0, 32),
    st.sampled_from([*"0123456789-:TZ+. ", "", "é"]),
)


@given(column=st.lists(st.none() | any_times | nearly_times, max_size=5))
@example(column=["1969-12-31T23:59:59.999999Z", "1600-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "", "Z", "+00:00"])
@example(column=["0000-01-01T00:00:00.000000Z", "0001-01-01T00:00:00.000000Z"])
@example(column=["2026-11-24T06:00:00.000001Z", "2026-11-24T06:60:00.000001Z"])
def test_times_are_those_of_parse_time(column: list[str | None]) -> None:
    moments = times_us(pa.array(column, pa.string())).tolist()
    for text, moment in zip(column, moments, strict=True):
        if text is None:
            assert moment == BEFORE_ALL_US
        elif moment == NO_TIME_US:
            with pytest.raises(ValueError):
                parse_time(text)
        else:
            assert moment == parse_time(text)
