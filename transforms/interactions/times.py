"""Convert every accepted form of a time to microseconds since 1970.

Accepted are numbers in the run's unit since 1970, RFC 3339 text with an offset, and native dates and timestamps (UTC if
they have no zone). Times outside the years 1 to 9999 are rejected, because they come from a wrong unit.
`parse_time` converts one text, and `time_columns` converts a column by the same rules.
"""

from __future__ import annotations

import datetime
import math
import re
from typing import Any

import numpy as np
import pyarrow as pa

from transforms.interactions.format import TimestampUnit

__all__ = [
    "INTEGER",
    "MAX_US",
    "MIN_US",
    "UNITS_US",
    "future_fault",
    "is_number",
    "native_text",
    "parse_time",
    "rfc3339",
    "time_fault",
]

UNITS_US: dict[TimestampUnit, int] = {"s": 1_000_000, "ms": 1_000, "us": 1}
UNIT_NAMES: dict[TimestampUnit, str] = {"s": "seconds", "ms": "milliseconds", "us": "microseconds"}
MIN_US = -62_135_596_800_000_000  # 0001-01-01T00:00:00Z
MAX_US = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z

NUMBER = re.compile(r"[ \t]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t]*")
INTEGER = re.compile(r"[ \t]*[+-]?[0-9]+[ \t]*")
RFC_3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def is_number(text: str) -> bool:
    """Return whether the text is a decimal number, optionally with sign, point, exponent and blanks around it."""
    return NUMBER.fullmatch(text) is not None


def parse_time(text: str, unit: TimestampUnit) -> int | None:
    """Convert a number in `unit` or an RFC 3339 text to microseconds since 1970.

    Returns:
        The time, or None if the text is neither or the time is out of range.
    """
    if is_number(text):
        return _in_range(_scale(text, UNITS_US[unit]))
    parts = RFC_3339.fullmatch(text)
    if parts is None:
        return None
    date, minute, second, fraction, sign, hours, minutes = parts.groups()
    leap = second == "60"  # a leap second counts as the first instant of the next minute
    try:
        moment = datetime.datetime.fromisoformat(f"{date}T{minute}:{'59' if leap else second}+00:00")
    except ValueError:
        return None
    offset = (int(hours) * 60 + int(minutes)) * (1 if sign == "+" else -1) if sign else 0
    if sign and (int(hours) > 23 or int(minutes) > 59):
        return None
    fraction_us = 0 if leap else int((fraction or "0")[:6].ljust(6, "0"))
    seconds = (moment - EPOCH) // datetime.timedelta(seconds=1) + leap - offset * 60
    return _in_range(seconds * 1_000_000 + fraction_us)


def rfc3339(time_us: int) -> str:
    """Format microseconds since 1970 as RFC 3339 in UTC."""
    moment = EPOCH + datetime.timedelta(microseconds=time_us)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def native_text(scalar: pa.Scalar) -> str | None:
    """Return a date or timestamp as text, even if Python's datetime cannot hold it. None for another type."""
    if not pa.types.is_temporal(scalar.type):
        return None
    text = str(scalar.cast(pa.string()))
    return f"{scalar.type} {scalar.value}" if "out of range" in text else text


def time_fault(value: Any, name: str, unit: TimestampUnit, quoted: str) -> str:
    """Explain why a value was rejected as a time.

    Args:
        value: None, a number, a text, or the scalar of a native time.
        name: Name of the column.
        unit: Unit of numeric times.
        quoted: The value as the message shows it.
    """
    if value is None or value == "":
        return f"{name} is missing"
    if isinstance(value, pa.Scalar):
        return f"{name} {quoted} is outside the years 1 to 9999"
    if is_number(str(value)) and math.isfinite(float(str(value))):
        return f"{name} {quoted} is outside the years 1 to 9999 as epoch {UNIT_NAMES[unit]}; is it another unit?"
    if RFC_3339.fullmatch(f"{value}Z"):
        return f"{name} {quoted} has no offset from UTC; append Z for UTC, or an offset such as +02:00"
    return f"{name} {quoted} is neither epoch {UNIT_NAMES[unit]} nor RFC 3339"


def future_fault(quoted: str, name: str, as_of_us: int) -> str:
    """Explain why a valid time was rejected. The reason starts with the word `future`.

    Args:
        quoted: The value as the message shows it.
        name: Name of the column.
        as_of_us: Latest time that the run believes, microseconds since 1970.
    """
    return f"future: {name} {quoted} is later than --as_of={rfc3339(as_of_us)}"


def _scale(text: str, tick_us: int) -> int | float:
    if INTEGER.fullmatch(text):
        # Numbers of more than 25 digits are out of range in every unit. int() raises for thousands of digits.
        return int(text) * tick_us if len(text.strip(" \t")) <= 25 else math.inf
    scaled = float(text) * tick_us
    return float(np.rint(scaled)) if math.isfinite(scaled) else scaled


def _in_range(time_us: int | float) -> int | None:
    return int(time_us) if MIN_US <= time_us <= MAX_US else None
