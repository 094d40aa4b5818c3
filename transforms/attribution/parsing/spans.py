"""What the values say that `scan` found: times, amounts, texts and their hashes, by their places in the lines' bytes.

Columns over spans: begin and end, int32 [n], into data, uint8 [bytes]; begin is -1 where a value is absent. Nothing
here is a Python object per row.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from serving_client.contracts.times import BEFORE_ALL_US

__all__ = ["distinct", "equal", "floats", "micro_units", "texts", "times_us"]

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int32]

_MINUS, _POINT, _ZERO, _NINE, _Z = b"-.09Z"
_MOST_MICRO = 10**15  # LARGEST_VALUE in micro-units
_NO_TIME = -(2**63)


def times_us(data: Bytes, begin: Places, end: Places) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Microseconds since 1970 as `parse_time` reads them, int64 [n], and where a text is no usual time.

    Absent ones are BEFORE_ALL_US.
    """
    times = np.full(len(begin), BEFORE_ALL_US, np.int64)
    _times(data, begin, end, times)
    wrong = times == _NO_TIME
    times[wrong] = BEFORE_ALL_US
    return times, wrong


def micro_units(data: Bytes, begin: Places, end: Places) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Decimals in units of 10^-6, int64 [n], and where one is not surely below 1e9 and of at most 6 places."""
    amounts, wrong = np.zeros(len(begin), np.int64), np.zeros(len(begin), np.bool_)
    _micro(data, begin, end, amounts, wrong)
    return amounts, wrong


def texts(data: Bytes, begin: Places, end: Places) -> pa.Array:
    """The values as Arrow strings [n], copied; absent ones are empty. They must be UTF-8."""
    ends = np.zeros(len(begin) + 1, np.int32)
    np.cumsum(end - begin, out=ends[1:])
    copied = np.empty(ends[-1], np.uint8)
    _copy(data, begin, ends, copied)
    return pa.StringArray.from_buffers(len(begin), pa.py_buffer(ends), pa.py_buffer(copied))


def floats(data: Bytes, begin: Places, end: Places) -> npt.NDArray[np.float64]:
    """JSON numbers as the float64 nearest to each, [n]; none may be absent."""
    numbers: npt.NDArray[np.float64] = texts(data, begin, end).cast(pa.float64()).to_numpy()
    return numbers


def equal(data: Bytes, begin: Places, end: Places, other_begin: Places, other_end: Places) -> npt.NDArray[np.bool_]:
    """Whether two values are there and have the same bytes, bool [n]."""
    same = np.zeros(len(begin), np.bool_)
    _equal(data, begin, end, other_begin, other_end, same)
    return same


def distinct(
    data: Bytes, begin: Places, end: Places, rows: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Which `rows` have all k values alike: int32 [n] into the first row of each kind, int64 [kinds]; -1 elsewhere.

    begin, end: int32 [k, n]; rows: bool [n]. Kinds come in the order of their first rows.
    """
    n = len(rows)
    codes, firsts = np.full(n, -1, np.int32), np.zeros(n, np.int64)
    table = np.full(1 << max(4, (2 * n).bit_length()), -1, np.int32)
    kinds = _distinct(data, begin, end, rows, table, codes, firsts)
    return codes, firsts[:kinds].copy()


def _read_times(data: Bytes, begin: Places, end: Places, times: npt.NDArray[np.int64]) -> None:
    for row in range(len(begin)):
        if begin[row] >= 0:
            times[row] = _time(data, begin[row], end[row])


def _read_digits(data: Bytes, at: int, count: int) -> int:
    """A number of `count` digits, something far below zero where one is none."""
    number = 0
    for place in range(at, at + count):
        digit = int(data[place]) - _ZERO
        if digit < 0 or digit > 9:
            return -(10**12)
        number = number * 10 + digit
    return number


_digits = numba.njit(cache=True, nogil=True)(_read_digits)


def _read_time(data: Bytes, at: int, end: int) -> int:
    """2026-11-24T06:00:00[.1 to 6 digits](Z|+00:00); _NO_TIME for anything else."""
    tail = 1
    if end - at > 6 and data[end - 6] == 43:  # +00:00, what Python's isoformat writes
        if not (
            data[end - 5] == _ZERO
            and data[end - 4] == _ZERO
            and data[end - 3] == 58
            and data[end - 2] == _ZERO
            and data[end - 1] == _ZERO
        ):
            return _NO_TIME
        tail = 6
    elif end - at < 20 or data[end - 1] != _Z:
        return _NO_TIME
    size = end - at - tail
    if size != 19 and not 21 <= size <= 26:
        return _NO_TIME
    if not (
        data[at + 4] == _MINUS
        and data[at + 7] == _MINUS
        and data[at + 10] == 84
        and data[at + 13] == 58
        and data[at + 16] == 58
        and (size == 19 or data[at + 19] == _POINT)
    ):
        return _NO_TIME
    year, month, day = _digits(data, at, 4), _digits(data, at + 5, 2), _digits(data, at + 8, 2)
    hour, minute, second = _digits(data, at + 11, 2), _digits(data, at + 14, 2), _digits(data, at + 17, 2)
    if year < 1 or month < 1 or month > 12 or day < 1:
        return _NO_TIME
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
        return _NO_TIME
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    month_days = (
        (29 if leap else 28) if month == 2 else (30 if month == 4 or month == 6 or month == 9 or month == 11 else 31)
    )
    if day > month_days:
        return _NO_TIME
    micro = 0
    if size > 19:
        micro = _digits(data, at + 20, size - 20)
        if micro < 0:
            return _NO_TIME
        for _ in range(26 - size):
            micro *= 10
    # Days of the proleptic Gregorian calendar: years begin in March, so that the leap day is a year's last.
    march_year = year - (1 if month <= 2 else 0)
    days = 365 * march_year + march_year // 4 - march_year // 100 + march_year // 400
    days += (153 * ((month + 9) % 12) + 2) // 5 + day - 1 - 719_468
    return ((days * 24 + hour) * 60 + minute) * 60_000_000 + second * 1_000_000 + micro


_time = numba.njit(cache=True, nogil=True)(_read_time)
_times = numba.njit(cache=True, nogil=True)(_read_times)


def _read_micro(
    data: Bytes, begin: Places, end: Places, amounts: npt.NDArray[np.int64], wrong: npt.NDArray[np.bool_]
) -> None:
    for row in range(len(begin)):
        at, stop = begin[row], end[row]
        if at < 0:
            continue
        negative = at < stop and data[at] == _MINUS
        if negative:
            at += 1
        amount, places, digits = 0, 0, 0
        point = False
        while at < stop and digits <= 16:
            if data[at] == _POINT:
                point = True
            elif _ZERO <= data[at] <= _NINE:
                amount = amount * 10 + (int(data[at]) - _ZERO)
                digits += 1
                places += 1 if point else 0
            else:
                break
            at += 1
        if at < stop or places > 6:
            wrong[row] = True
            continue
        for _ in range(6 - places):
            amount *= 10
            if amount > _MOST_MICRO:
                break
        if amount > _MOST_MICRO:
            wrong[row] = True
        else:
            amounts[row] = -amount if negative else amount


_micro = numba.njit(cache=True, nogil=True)(_read_micro)


def _copy_spans(data: Bytes, begin: Places, ends: Places, copied: Bytes) -> None:
    for row in range(len(begin)):
        start, at = begin[row], ends[row]
        for place in range(ends[row + 1] - at):
            copied[at + place] = data[start + place]


_copy = numba.njit(cache=True, nogil=True)(_copy_spans)


def _compare(
    data: Bytes, begin: Places, end: Places, other_begin: Places, other_end: Places, same: npt.NDArray[np.bool_]
) -> None:
    for row in range(len(begin)):
        size = end[row] - begin[row]
        if begin[row] < 0 or other_begin[row] < 0 or other_end[row] - other_begin[row] != size:
            continue
        same[row] = True
        for place in range(size):
            if data[begin[row] + place] != data[other_begin[row] + place]:
                same[row] = False
                break


_equal = numba.njit(cache=True, nogil=True)(_compare)


def _number_kinds(
    data: Bytes,
    begin: Places,
    end: Places,
    rows: npt.NDArray[np.bool_],
    table: npt.NDArray[np.int32],
    codes: npt.NDArray[np.int32],
    firsts: npt.NDArray[np.int64],
) -> int:
    """An open-addressing table of kinds by FNV-1a of their bytes, at most half full; equal hashes are compared."""
    kinds = 0
    mask = np.uint64(len(table) - 1)
    for row in range(len(rows)):
        if not rows[row]:
            continue
        mixed = np.uint64(0xCBF29CE484222325)
        for column in range(len(begin)):
            for at in range(begin[column, row], end[column, row]):
                mixed = (mixed ^ np.uint64(data[at])) * np.uint64(0x100000001B3)
            mixed = (mixed ^ np.uint64(0xFF)) * np.uint64(0x100000001B3)  # UTF-8 has no such byte
        place = (mixed ^ (mixed >> np.uint64(32))) & mask
        while True:
            kind = table[place]
            if kind < 0:
                table[place] = kinds
                firsts[kinds] = row
                codes[row] = kinds
                kinds += 1
                break
            first = firsts[kind]
            same = True
            for column in range(len(begin)):
                start, size = begin[column, row], end[column, row] - begin[column, row]
                other = begin[column, first]
                same = same and end[column, first] - other == size and (start < 0) == (other < 0)
                if same:
                    for at in range(size):
                        if data[start + at] != data[other + at]:
                            same = False
                            break
                if not same:
                    break
            if same:
                codes[row] = kind
                break
            place = (place + np.uint64(1)) & mask
    return kinds


_distinct = numba.njit(cache=True, nogil=True)(_number_kinds)
