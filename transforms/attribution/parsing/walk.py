"""How one walks over lines of JSON byte by byte, and stops at what is unusual: the kernels behind `scan`.

They presume valid JSON, and promise for other bytes only to stay inside the line. Each takes the position it begins at
and gives the one after what it read, -1 where that is broken or cut off. Those called once per value are inlined by
numba itself: 1.2 microseconds for a line of 490 bytes, 1.4 without; inlining all gains nothing and compiles for 20 s.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from transforms.attribution.parsing.fields import MOST_ID_BYTES, MOST_NESTED

__all__ = [
    "ANY",
    "BOOLEAN",
    "FEATURES",
    "ID",
    "IDS",
    "INTEGER",
    "NUMBER",
    "NUMBERS",
    "OBJECT",
    "PROBABILITY",
    "TEXT",
    "VERSION",
    "walk",
]

ANY, ID, TEXT, INTEGER, NUMBER, PROBABILITY, VERSION, BOOLEAN, OBJECT, NUMBERS, FEATURES, IDS = range(12)
"""What a value has to be; ANY is any value whose numbers are usual."""

_MOST_DIGITS = 18  # of an integer that fits 64 bits whatever its digits; orjson reads a larger one as a float
_MOST_WHOLE_DIGITS = 15  # of a float surely below 1e16, from where on Python writes an exponent
_MOST_ZEROS = 3  # after 0. in a float of at least 1e-4, below which Python writes an exponent
_MOST_FEATURE_DIGITS = 6  # before the point; 999,999 is below LARGEST_FEATURE

_TAB, _CR, _SPACE, _QUOTE, _COMMA, _MINUS, _POINT, _COLON, _BACKSLASH = b'\t\r ",-.:\\'
_ZERO, _ONE, _NINE, _E, _F, _N, _T, _OPEN, _CLOSE, _OPEN_LIST, _CLOSE_LIST = b"019efnt{}[]"


def _byte_at(data: npt.NDArray[np.uint8], at: int) -> np.uint8:
    """Without numba's test for a negative position, which costs a third of the walk."""
    byte: np.uint8 = data[np.uint64(at)]
    return byte


_byte = numba.njit(cache=True, nogil=True, inline="always")(_byte_at)


def _skip_blanks(data: npt.NDArray[np.uint8], at: int, stop: int) -> int:
    while at < stop and (_byte(data, at) == _SPACE or _byte(data, at) == _TAB or _byte(data, at) == _CR):
        at += 1
    return at


_blanks = numba.njit(cache=True, nogil=True)(_skip_blanks)


def _read_string(data: npt.NDArray[np.uint8], at: int, stop: int) -> tuple[int, bool]:
    """From the opening quote; (after the closing one, whether anything is escaped)."""
    escaped = False
    at += 1
    while at < stop and _byte(data, at) != _QUOTE:
        if _byte(data, at) == _BACKSLASH:
            escaped = True
            at += 1
        at += 1
    return (at + 1 if at < stop else -1), escaped


_string = numba.njit(cache=True, nogil=True)(_read_string)


def _read_number(data: npt.NDArray[np.uint8], at: int, stop: int) -> tuple[int, int, bool]:
    """From the minus or first digit; (after it, digits before the point, whether it is a float).

    -1 also where orjson may not write it as `canonical_json` does: integers beyond 64 bits, floats that Python writes
    with an exponent, and all that have one.
    """
    if _byte(data, at) == _MINUS:
        at += 1
    start = at
    while at < stop and _ZERO <= _byte(data, at) <= _NINE:
        at += 1
    digits = at - start
    if digits == 0 or digits > _MOST_DIGITS:
        return -1, 0, False
    fraction = at < stop and _byte(data, at) == _POINT
    if fraction:
        at += 1
        zeros = at
        while at < stop and _byte(data, at) == _ZERO:
            at += 1
        if digits > _MOST_WHOLE_DIGITS or (digits == 1 and _byte(data, start) == _ZERO and at - zeros > _MOST_ZEROS):
            return -1, 0, False
        while at < stop and _ZERO <= _byte(data, at) <= _NINE:
            at += 1
    if at < stop and (_byte(data, at) | 32) == _E:
        return -1, 0, False
    return at, digits, fraction


_number = numba.njit(cache=True, nogil=True)(_read_number)


def _read_nested(data: npt.NDArray[np.uint8], at: int, stop: int, want: int) -> tuple[int, bool]:
    """From the opening bracket of an array or object; (after the closing one, whether its values are as wanted)."""
    depth = 0
    fits = True
    while at < stop:
        byte = _byte(data, at)
        if byte == _QUOTE:
            start = at + 1
            at, escaped = _string(data, at, stop)
            if at < 0:
                break
            if depth == 1 and (
                want == FEATURES or (want == IDS and (escaped or not 1 <= at - 1 - start <= MOST_ID_BYTES))
            ):
                fits = False
        elif byte == _MINUS or _ZERO <= byte <= _NINE:
            at, digits, _ = _number(data, at, stop)
            if at < 0:
                break
            if depth == 1 and (want == IDS or (want == FEATURES and digits > _MOST_FEATURE_DIGITS)):
                fits = False
        elif byte in (_OPEN, _OPEN_LIST):
            depth += 1
            if depth >= MOST_NESTED or (depth > 1 and want in (IDS, FEATURES)):
                fits = False
            at += 1
        elif byte in (_CLOSE, _CLOSE_LIST):
            depth -= 1
            at += 1
            if depth == 0:
                return at, fits
        elif byte == _COLON:
            at = _blanks(data, at + 1, stop)
            if want == NUMBERS and at < stop and _byte(data, at) != _MINUS and not _ZERO <= _byte(data, at) <= _NINE:
                fits = False
        else:
            if depth == 1 and want in (IDS, FEATURES) and byte in (_T, _F, _N):
                fits = False
            at += 1
    return -1, False


_nested = numba.njit(cache=True, nogil=True)(_read_nested)


def _read_value(data: npt.NDArray[np.uint8], at: int, stop: int, want: int) -> tuple[int, bool]:
    """(after the value, whether it is surely as wanted); null is never."""
    first = _byte(data, at)
    if first == _QUOTE:
        start = at + 1
        at, escaped = _string(data, at, stop)
        if want == ID:
            return at, not escaped and 1 <= at - 1 - start <= MOST_ID_BYTES
        return at, want == ANY or (not escaped and want in (TEXT, VERSION))
    if first == _MINUS or _ZERO <= first <= _NINE:
        start = at
        at, _, fraction = _number(data, at, stop)
        if want == PROBABILITY:  # 0, 1, or 0.…
            one = first == _ONE and (
                at == start + 1 or (fraction and at == start + 3 and _byte(data, start + 2) == _ZERO)
            )
            return at, at > 0 and (first == _ZERO or one)
        if want in (INTEGER, VERSION):
            return at, not fraction
        return at, want in (NUMBER, ANY)
    if first == _OPEN:
        at, fits = _nested(data, at, stop, want)
        return at, fits and want in (OBJECT, NUMBERS, ANY)
    if first == _OPEN_LIST:
        at, fits = _nested(data, at, stop, want)
        return at, fits and want in (FEATURES, IDS, ANY)
    while at < stop and _E - 4 <= _byte(data, at) <= _E + 21:  # true, false, null: a to z
        at += 1
    return at, want == ANY or (want == BOOLEAN and first in (_T, _F))


_value = numba.njit(cache=True, nogil=True, inline="always")(_read_value)


def _find_field(
    data: npt.NDArray[np.uint8],
    start: int,
    stop: int,
    letters: npt.NDArray[np.uint8],
    name_ends: npt.NDArray[np.int64],
    guess: int,
) -> int:
    """Which field has the name from start to stop, -1 for none; `guess` is tried first."""
    size = stop - start
    fields = len(name_ends) - 1
    for turn in range(fields):
        field = guess + turn if guess + turn < fields else guess + turn - fields
        begin = name_ends[field]
        if name_ends[field + 1] - begin == size:
            same = True
            for at in range(size):
                if letters[begin + at] != _byte(data, start + at):
                    same = False
                    break
            if same:
                return field
    return -1


_field = numba.njit(cache=True, nogil=True, inline="always")(_find_field)


def _walk_line(
    data: npt.NDArray[np.uint8],
    at: int,
    stop: int,
    letters: npt.NDArray[np.uint8],
    name_ends: npt.NDArray[np.int64],
    wants: npt.NDArray[np.int64],
    slots: npt.NDArray[np.int64],
    order: npt.NDArray[np.int64],
    begin: npt.NDArray[np.int32],
    end: npt.NDArray[np.int32],
) -> int:
    """Which fields are there and not null, as bits; -1 where the line is not usual."""
    at = _blanks(data, at, stop)
    if at >= stop or _byte(data, at) != _OPEN:
        return -1
    named = present = key = 0
    while True:
        at = _blanks(data, at + 1, stop)  # after { or ,
        if at >= stop or _byte(data, at) != _QUOTE:
            return -1  # {} is no record either
        start = at + 1
        at, escaped = _string(data, at, stop)
        if at < 0 or escaped:
            return -1
        field = _field(data, start, at - 1, letters, name_ends, order[key])
        if field >= 0:
            order[key] = field
        key = min(key + 1, len(order) - 1)
        at = _blanks(data, at, stop)
        if at >= stop or _byte(data, at) != _COLON:
            return -1
        first = _blanks(data, at + 1, stop)
        if first >= stop:
            return -1
        null = _byte(data, first) == _N
        at, fits = _value(data, first, stop, ANY if field < 0 or null else wants[field])
        if at < 0 or not fits:
            return -1
        if field >= 0:
            bit = 1 << field
            if named & bit:
                return -1
            named |= bit
            if not null:
                present |= bit
                if slots[field] >= 0:
                    quote = 1 if _byte(data, first) == _QUOTE else 0
                    begin[slots[field]] = first + quote
                    end[slots[field]] = at - quote
        at = _blanks(data, at, stop)
        if at >= stop:
            return -1
        if _byte(data, at) == _CLOSE:
            return present if _blanks(data, at + 1, stop) == stop else -1
        if _byte(data, at) != _COMMA:
            return -1


_line = numba.njit(cache=True, nogil=True, inline="always")(_walk_line)


def _walk(
    data: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    letters: npt.NDArray[np.uint8],
    name_ends: npt.NDArray[np.int64],
    wants: npt.NDArray[np.int64],
    slots: npt.NDArray[np.int64],
    required: int,
    usual: npt.NDArray[np.bool_],
    begin: npt.NDArray[np.int32],
    end: npt.NDArray[np.int32],
) -> None:
    """Lines from starts to ends -> usual [lines], begin and end [kept fields, lines] (see `scan.Scan`)."""
    order = np.zeros(64, np.int64)  # which field was a line's k-th: logs repeat themselves
    for row in range(len(starts)):
        present = _line(
            data, starts[row], ends[row], letters, name_ends, wants, slots, order, begin[:, row], end[:, row]
        )
        usual[row] = present >= 0 and present & required == required


walk = numba.njit(cache=True, nogil=True)(_walk)
