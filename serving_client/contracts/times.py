"""How times and durations are written: RFC 3339 in UTC with microseconds, and `30m`.

Inside, a time is an int: microseconds since 1970.
"""

from __future__ import annotations

import datetime
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
"""A time that no event reaches."""

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
    """`2026-11-24T06:00:00.000001Z`, or with `+00:00`, and up to six decimals, to microseconds since 1970.

    Raises ValueError for anything else, a leap second and the year 0 included.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no RFC 3339 UTC time such as 2026-11-24T06:00:00.000000Z")
    seconds = datetime.datetime.fromisoformat(match[1])
    return (seconds - _EPOCH) // _MICROSECOND + int((match[2] or "0").ljust(6, "0"))


def format_time(time_us: int) -> str:
    """Microseconds since 1970 to `2026-11-24T06:00:00.000001Z`; a time outside the years 1 to 9999 is their limit."""
    time_us = min(max(time_us, _FIRST_US), _LAST_US)
    return (_EPOCH + datetime.timedelta(microseconds=time_us)).isoformat(timespec="microseconds") + "Z"


def parse_duration(text: str) -> int:
    """`500ms`, `20s`, `30m`, `1.5h`, `7d` to microseconds; raises ValueError for anything else, or less than zero."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no duration; write a number and ms, s, m, h or d, such as 30m")
    duration_us = float(match[1]) * _UNITS_US[match[2]]
    if duration_us > AFTER_ALL_US:
        raise ValueError(f"{text!r} is longer than any time that is counted here")
    return round(duration_us)


def format_duration(duration_us: int) -> str:
    """Microseconds to the form `parse_duration` reads, in the largest unit that divides it: `90m`, not `1.5h`.

    Two durations are written alike only if they are equal.
    """
    for unit in ("d", "h", "m", "s"):
        if duration_us and duration_us % _UNITS_US[unit] == 0:
            return f"{duration_us // _UNITS_US[unit]}{unit}"
    milliseconds, microseconds = divmod(duration_us, 1_000)
    return f"{milliseconds}.{microseconds:03}ms" if microseconds else f"{milliseconds}ms"
