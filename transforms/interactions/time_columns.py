"""Convert a column of times to microseconds since 1970, by the rules of `times` for one value.

Columns are converted whole. Python looks one by one only at text of an unusual spelling.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.interactions.files import FileFault
from transforms.interactions.format import TimestampUnit
from transforms.interactions.times import INTEGER, MAX_US, MIN_US, UNITS_US, parse_time

__all__ = ["to_microseconds"]

# The two spellings that Arrow parses in bulk. Other accepted spellings are parsed one by one.
PLAIN_INTEGER = "^-?[0-9]{1,18}$"
PLAIN_RFC_3339 = (
    "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])[T ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)


def to_microseconds(
    column: pa.Array, name: str, unit: TimestampUnit
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Convert a column to microseconds since 1970.

    Args:
        column: Numbers, text, dates or timestamps [rows], also dictionary-encoded.
        name: Name of the column, for the error message.
        unit: Unit of numeric times.

    Returns:
        Times, int64 [rows], 0 for a row without a valid time; and which rows have none, bool [rows].

    Raises:
        FileFault: The column has a type that holds no times.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        values, bad = to_microseconds(column.dictionary, name, unit)
        missing = _to_numpy(column.is_null())
        at = _to_numpy(pc.fill_null(column.indices, 0)) if len(values) else np.zeros(len(column), np.int64)
        values, bad = (values, bad) if len(values) else (np.zeros(1, np.int64), np.ones(1, np.bool_))
        return np.where(missing, 0, values[at]), missing | bad[at]
    if pa.types.is_null(kind):
        return np.zeros(len(column), np.int64), np.ones(len(column), np.bool_)
    if _is_text(kind):
        return _from_text(column, unit)
    missing = _to_numpy(column.is_null())
    if pa.types.is_timestamp(kind):
        ticks = _to_numpy(pc.fill_null(column.cast(pa.int64()), 0))
        if kind.unit == "ns":
            return ticks // 1000, missing
        return _scale_integers(ticks, {"s": 1_000_000, "ms": 1_000, "us": 1}[kind.unit], missing)
    if pa.types.is_date(kind):
        days_or_ms = _to_numpy(pc.fill_null(column.cast(pa.int32() if pa.types.is_date32(kind) else pa.int64()), 0))
        return _scale_integers(
            days_or_ms.astype(np.int64), 86_400_000_000 if pa.types.is_date32(kind) else 1_000, missing
        )
    if pa.types.is_integer(kind):
        return _scale_integers(_to_numpy(pc.fill_null(column, 0)), UNITS_US[unit], missing)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _scale_floats(_to_numpy(pc.fill_null(column.cast(pa.float64()), np.nan)), UNITS_US[unit])
    raise FileFault(f"column {name} has type {kind}; times are numbers, RFC 3339 strings, dates or timestamps")


def _from_text(column: pa.Array, unit: TimestampUnit) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    missing = _to_numpy(column.is_null())
    try:
        text = column.cast(pa.string())
    except pa.ArrowInvalid:  # some values are not UTF-8, so they hold no time
        text = pa.array([None if v is None else v.decode("utf-8", "replace") for v in column.to_pylist()], pa.string())
    # A failing cast costs 0.5 us a row, so it is tried only if the first value fits.
    if len(text) and INTEGER.fullmatch(text[0].as_py() or "") and not _has_hexadecimal(text):
        try:
            integers = text.cast(pa.int64())
            return _scale_integers(_to_numpy(pc.fill_null(integers, 0)), UNITS_US[unit], missing)
        except pa.ArrowInvalid:
            pass
    if _is_uniform_rfc_3339(text):
        try:
            moments = _to_numpy(text.cast(pa.timestamp("us", "UTC")).cast(pa.int64()))
            return _scale_integers(moments, 1, missing)
        except pa.ArrowInvalid:
            pass
    values = np.zeros(len(text), np.int64)
    bad = np.ones(len(text), np.bool_)
    rest = ~missing
    plain = rest & _matches(text, PLAIN_INTEGER)
    if plain.any():
        integers = _to_numpy(text.filter(pa.array(plain)).cast(pa.int64()))
        values[plain], bad[plain] = _scale_integers(integers, UNITS_US[unit], np.zeros(len(integers), np.bool_))
        rest &= ~plain
    if rest.any():
        plain = rest & _matches(text, PLAIN_RFC_3339)
        moments = _to_numpy(text.filter(pa.array(plain)).cast(pa.timestamp("us", "UTC")).cast(pa.int64()))
        values[plain], bad[plain] = moments, (moments < MIN_US) | (moments > MAX_US)
        rest &= ~plain
    for row in np.flatnonzero(rest).tolist():
        time_us = parse_time(text[row].as_py(), unit)
        if time_us is not None:
            values[row], bad[row] = time_us, False
    values[bad] = 0
    return values, bad


def _is_uniform_rfc_3339(text: pa.Array) -> bool:
    """Return whether all values have one length and the punctuation of 2026-01-31T00:00:00Z, with up to 6 decimals.

    Arrow's cast checks the digits ten times faster than the regular expression, but it accepts other layouts too.
    """
    lengths = _to_numpy(pc.binary_length(text))  # NaN for a null, which equals no length
    length = int(lengths[0]) if len(lengths) and text.is_valid()[0].as_py() else 0
    if not 20 <= length <= 27 or length == 21 or not (lengths == length).all():
        return False
    start = int(np.frombuffer(text.buffers()[1], np.int32)[text.offset])
    letters = np.frombuffer(text.buffers()[2], np.uint8)[start : start + length * len(text)].reshape(-1, length)
    layout = {4: b"-", 7: b"-", 10: b"T ", 13: b":", 16: b":", 19: b"Z" if length == 20 else b".", length - 1: b"Z"}
    return all(np.isin(letters[:, at], np.frombuffer(allowed, np.uint8)).all() for at, allowed in layout.items())


def _scale_integers(
    ticks: npt.NDArray[Any], tick_us: int, missing: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    bad = missing
    info = np.iinfo(ticks.dtype)
    least, most = -(-MIN_US // tick_us), MAX_US // tick_us
    least, most = max(least, info.min), min(most, info.max)  # the range that the type can hold
    if len(ticks) and (ticks.min() < least or ticks.max() > most):
        bad = missing | (ticks < least) | (ticks > most)
        ticks = np.where(bad, 0, ticks)
    values = ticks.astype(np.int64, copy=False)
    return (values if tick_us == 1 else values * np.int64(tick_us)), bad


def _scale_floats(
    numbers: npt.NDArray[np.float64], tick_us: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = np.rint(numbers * tick_us)
        bad = ~((scaled >= MIN_US) & (scaled <= MAX_US))  # NaN compares false
    return np.where(bad, 0, scaled).astype(np.int64), bad


def _is_text(kind: pa.DataType) -> bool:
    return any(
        check(kind)
        for check in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_string_view,
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_binary_view,
        )
    )


def _matches(text: pa.Array, pattern: str) -> npt.NDArray[np.bool_]:
    return _to_numpy(pc.fill_null(pc.match_substring_regex(text, pattern), False))


def _has_hexadecimal(text: pa.Array) -> bool:
    """Return whether any value contains an x, because Arrow's cast would read 0x1F as 31."""
    data = text.buffers()[2]
    return data is not None and ((block := data.to_pybytes()).find(b"x") >= 0 or block.find(b"X") >= 0)


def _to_numpy(column: pa.Array) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return values
