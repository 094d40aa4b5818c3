"""Check the fields of a snapshot, one kind of value at a time.

Every function takes the place of the object for the error, the object, and the key of the field in it.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serving_client.contracts.times import parse_time

__all__ = [
    "SnapshotError",
    "array",
    "column",
    "count",
    "integer",
    "members",
    "number",
    "optional_time_us",
    "positive",
    "string",
    "time_us",
]

Float64s = npt.NDArray[np.float64]

# float64 counts exactly up to here.
_LARGEST_COUNT = 2**53
_LARGEST_NUMBER = sys.float_info.max


class SnapshotError(ValueError):
    """A snapshot cannot be used. The message names the place in it."""


def _field(where: str, fields: Any, key: str) -> Any:
    if not isinstance(fields, dict):
        raise SnapshotError(f"{where}: is not an object")
    if key not in fields:
        raise SnapshotError(f"{_place(where, key)}: is missing")
    return fields[key]


def string(where: str, fields: Any, key: str) -> str:
    """Return a string."""
    value = _field(where, fields, key)
    if not isinstance(value, str):
        raise SnapshotError(f"{_place(where, key)}: is {value!r:.40} and must be a string")
    return value


def integer(where: str, fields: Any, key: str) -> int:
    """Return an integer."""
    value = _field(where, fields, key)
    if type(value) is not int:
        raise SnapshotError(f"{_place(where, key)}: is {value!r:.40} and must be an integer")
    return value


def number(where: str, fields: Any, key: str) -> float:
    """Return a finite number."""
    value = _field(where, fields, key)
    if type(value) not in (int, float) or not -_LARGEST_NUMBER <= value <= _LARGEST_NUMBER:
        raise SnapshotError(f"{_place(where, key)}: is {value!r:.40} and must be a finite number")
    return float(value)


def positive(where: str, fields: Any, key: str) -> float:
    """Return a finite number that is not negative."""
    value = number(where, fields, key)
    if value < 0:
        raise SnapshotError(f"{_place(where, key)}: is {value} and must be at least 0")
    return value


def count(where: str, fields: Any, key: str) -> float:
    """Return a whole number from 0 to 2^53."""
    value = integer(where, fields, key)
    if not 0 <= value <= _LARGEST_COUNT:
        raise SnapshotError(f"{_place(where, key)}: is {value} and must be at least 0 and at most 2^53")
    return float(value)


def time_us(where: str, fields: Any, key: str) -> int:
    """Return a time, microseconds since 1970."""
    text = string(where, fields, key)
    try:
        return _parse_time(text)
    except ValueError as error:
        raise SnapshotError(f"{_place(where, key)}: {error}") from error


def optional_time_us(where: str, fields: Any, key: str) -> int | None:
    """Return a time, or None for null."""
    return None if _field(where, fields, key) is None else time_us(where, fields, key)


def members(where: str, fields: Any, key: str) -> dict[str, Any]:
    """Return an object."""
    value = _field(where, fields, key)
    if not isinstance(value, dict):
        raise SnapshotError(f"{_place(where, key)}: must be an object")
    return value


def array(where: str, fields: Any, key: str) -> list[Any]:
    """Return an array."""
    value = _field(where, fields, key)
    if not isinstance(value, list):
        raise SnapshotError(f"{_place(where, key)}: must be an array")
    return value


def column(where: str, entries: Sequence[Any], key: str, check: Callable[[str, Any, str], float]) -> Float64s:
    """Return one field of every object in an array, float64 [entries].

    The values are checked together, which takes a third of the time. If that fails, each is checked for its message.

    Args:
        where: Place of the array.
        entries: The array.
        key: Name of the field.
        check: `number`, `positive`, `count` or `time_us`.
    """
    try:
        values = _TOGETHER[check]([entry[key] for entry in entries])
    except (KeyError, TypeError, ValueError, OverflowError):
        values = None
    if values is None:
        values = np.array([check(f"{where}[{at}]", entry, key) for at, entry in enumerate(entries)], np.float64)
    return values


def _numbers(values: list[Any]) -> Float64s | None:
    if not {int, float}.issuperset(map(type, values)):
        return None
    numbers = np.array(values, np.float64)
    return numbers if np.isfinite(numbers).all() else None


def _positives(values: list[Any]) -> Float64s | None:
    numbers = _numbers(values)
    return numbers if numbers is not None and (numbers >= 0).all() else None


def _counts(values: list[Any]) -> Float64s | None:
    if not {int}.issuperset(map(type, values)):
        return None
    fits = not values or (min(values) >= 0 and max(values) <= _LARGEST_COUNT)
    return np.array(values, np.float64) if fits else None


def _times(values: list[Any]) -> Float64s:
    return np.array([_parse_time(text) for text in values], np.float64)


_TOGETHER: Mapping[Callable[[str, Any, str], float], Callable[[list[Any]], Float64s | None]] = {
    number: _numbers,
    positive: _positives,
    count: _counts,
    time_us: _times,
}


def _place(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


@functools.lru_cache(maxsize=4096)
def _parse_time(text: str) -> int:
    """Parse a time. The rows of a snapshot share their hours and reference times, so the times are cached."""
    return parse_time(text)
