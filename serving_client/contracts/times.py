"""Parse and format times (RFC 3339 in UTC with microseconds) and durations (`30m`).

In Python a time is an int: microseconds since 1970.
"""

from __future__ import annotations

import datetime
import functools
import re
import time

__all__ = [
    "AFTER_ALL_US",
    "BEFORE_ALL_US",
    "format_duration",
    "format_time",
    "parse_duration",
    "parse_time",
    "wall_clock_us",
]

BEFORE_ALL_US = -(2**62)
"""A watermark before any event."""
AFTER_ALL_US = 2**62
"""A time after any event."""

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?(?:Z|\+00:00)", re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_UNITS_US = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_EPOCH = datetime.datetime(1970, 1, 1)
_FIRST_US, _LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999
_MICROSECOND = datetime.timedelta(microseconds=1)


def wall_clock_us() -> int:
    """Return the clock, microseconds since 1970."""
    return time.time_ns() // 1000


def parse_time(text: str) -> int:
    """Parse a time such as `2026-11-24T06:00:00.000001Z`, with up to six decimals and `Z` or `+00:00`.

    Returns:
        Microseconds since 1970.

    Raises:
        ValueError: The text has another form, or is a leap second or in the year 0.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an RFC 3339 UTC time; write it like 2026-11-24T06:00:00.000000Z")
    seconds = datetime.datetime.fromisoformat(match[1])
    return (seconds - _EPOCH) // _MICROSECOND + int((match[2] or "0").ljust(6, "0"))


def format_time(time_us: int) -> str:
    """Format microseconds since 1970 as `2026-11-24T06:00:00.000001Z`, limited to the years 1 to 9999."""
    if not _FIRST_US <= time_us <= _LAST_US:
        time_us = min(max(time_us, _FIRST_US), _LAST_US)
    seconds, microseconds = divmod(time_us, 1_000_000)
    return f"{_to_the_second(seconds)}.{microseconds:06}Z"


def parse_duration(text: str) -> int:
    """Parse a duration such as `500ms`, `20s`, `30m`, `1.5h` or `7d`.

    Returns:
        Microseconds.

    Raises:
        ValueError: The text has another form, or is too long.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write a number and ms, s, m, h or d, such as 30m")
    duration_us = float(match[1]) * _UNITS_US[match[2]]
    if duration_us > AFTER_ALL_US:
        raise ValueError(f"{text!r} is longer than 146,000 years; use a shorter duration")
    return round(duration_us)


def format_duration(duration_us: int) -> str:
    """Format microseconds for `parse_duration`, in the largest unit that divides them: `90m`, not `1.5h`.

    Equal texts mean equal durations.
    """
    for unit in ("d", "h", "m", "s"):
        if duration_us and duration_us % _UNITS_US[unit] == 0:
            return f"{duration_us // _UNITS_US[unit]}{unit}"
    milliseconds, microseconds = divmod(duration_us, 1_000)
    return f"{milliseconds}.{microseconds:03}ms" if microseconds else f"{milliseconds}ms"


@functools.lru_cache(maxsize=64)  # a router formats thousands of times in a second: 0.5 instead of 2 microseconds
def _to_the_second(seconds: int) -> str:
    return (_EPOCH + datetime.timedelta(seconds=seconds)).isoformat()
