"""Times and durations: what is written is read as the same, and what is neither is refused by name."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_client.contracts.times import format_duration, format_time, parse_duration, parse_time

FIRST_US = -62_135_596_800_000_000  # 0001-01-01T00:00:00Z
LAST_US = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z
times = st.integers(FIRST_US, LAST_US)


@given(time_us=times)
def test_a_time_that_is_written_is_read_as_the_same(time_us: int) -> None:
    assert parse_time(format_time(time_us)) == time_us


@given(time_us=times)
def test_times_sort_as_their_text_does(time_us: int) -> None:
    later = min(time_us + 1, LAST_US)
    assert (format_time(time_us) < format_time(later)) == (time_us < later)


@given(time_us=times)
def test_a_time_means_what_the_standard_library_reads_in_it(time_us: int) -> None:
    read = datetime.datetime.fromisoformat(format_time(time_us))
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    assert read - epoch == datetime.timedelta(microseconds=time_us)


@pytest.mark.parametrize(
    ("text", "time_us"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00+00:00", 0),
        ("1970-01-01T00:00:01.5Z", 1_500_000),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("2024-02-29T00:00:00.000001+00:00", 1_709_164_800_000_001),
    ],
)
def test_a_time_may_have_up_to_six_decimals_and_either_form_of_utc(text: str, time_us: int) -> None:
    assert parse_time(text) == time_us


@pytest.mark.parametrize(
    "text",
    [
        "", "yesterday", "2026-11-24", "2026-11-24T06:00:00", "2026-11-24 06:00:00Z", "2026-11-24T06:00:00z",
        "2026-11-24T06:00:00+01:00", "2026-11-24T06:00:00.1234567Z", "2026-11-24T06:00:00.Z", "2026-11-24T06:00Z",
        "2026-02-29T06:00:00Z", "2026-13-01T06:00:00Z", "2026-11-24T24:00:00Z", "2026-11-24T23:59:60Z",
        "0000-01-01T00:00:00Z", "2026-11-24T06:00:00Z\n", " 2026-11-24T06:00:00Z", "٢٠٢٦-11-24T06:00:00Z",
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_time(text)


def test_a_time_outside_the_years_1_to_9999_is_written_as_their_limit() -> None:
    assert format_time(FIRST_US - 1) == format_time(FIRST_US)
    assert format_time(LAST_US + 1) == format_time(LAST_US)


@given(duration_us=st.integers(0, 3_650 * 86_400_000_000))
def test_a_duration_that_is_written_is_read_as_the_same(duration_us: int) -> None:
    assert parse_duration(format_duration(duration_us)) == duration_us


@pytest.mark.parametrize(
    ("text", "duration_us", "canonical"),
    [
        ("0s", 0, "0ms"),
        ("500ms", 500_000, "500ms"),
        ("0.001ms", 1, "0.001ms"),
        ("123456.789ms", 123_456_789, "123456.789ms"),
        ("20s", 20_000_000, "20s"),
        ("30m", 1_800_000_000, "30m"),
        ("1.5h", 5_400_000_000, "90m"),
        ("24h", 86_400_000_000, "1d"),
    ],
)
def test_durations_have_a_unit_and_one_canonical_form(text: str, duration_us: int, canonical: str) -> None:
    assert parse_duration(text) == duration_us
    assert format_duration(duration_us) == canonical


@pytest.mark.parametrize(
    "text", ["", "30", "m", "-1s", "+1s", "1e3s", ".5h", "5.h", "1 h", "1h30m", "1w", "1s\n", "١s"]
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as 30m"):
        parse_duration(text)


def test_a_duration_that_no_clock_reaches_is_refused() -> None:
    for text in ("9" * 20 + "d", "9" * 400 + "s"):
        with pytest.raises(ValueError, match="longer than 146,000 years"):
            parse_duration(text)
