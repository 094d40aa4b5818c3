"""Columns of RFC 3339 times as microseconds since 1970."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from serving_client.contracts.times import BEFORE_ALL_US, parse_time

__all__ = ["NO_TIME_US", "times_us"]

NO_TIME_US = -(2**63)
"""Stands for a text that is not a time."""
_USUAL_BYTES = len("2026-11-24T06:00:00.000001Z")
_MARKS = {4: "-", 7: "-", 10: "T", 13: ":", 16: ":", 19: ".", 26: "Z"}


def times_us(texts: pa.StringArray) -> npt.NDArray[np.int64]:
    """Parse times like `parse_time`, a column at once.

    Args:
        texts: Times [n]. Null is an absent time.

    Returns:
        Microseconds since 1970, int64 [n]. BEFORE_ALL_US stands for null, NO_TIME_US for a text that is not a time.
    """
    usual = _is_usual(texts)
    if usual.all():
        parsed = _parse_usual(texts)
        if parsed is not None:
            return parsed
        usual[:] = False
    times = np.full(len(texts), BEFORE_ALL_US, np.int64)
    if usual.any():
        parsed = _parse_usual(texts.filter(pa.array(usual)))
        if parsed is None:
            usual[:] = False
        else:
            times[usual] = parsed
    rest = np.flatnonzero(~usual)
    for row, text in zip(rest.tolist(), texts.take(pa.array(rest)).to_pylist(), strict=True):
        if text is not None:
            times[row] = _parse_one(text)
    return times


def _is_usual(texts: pa.StringArray) -> npt.NDArray[np.bool_]:
    """Which texts look like 2026-11-24T06:00:00.000001Z, bool [n]. Arrow accepts other forms than the contract."""
    sizes = pc.binary_length(texts).fill_null(0).to_numpy(zero_copy_only=False)
    usual: npt.NDArray[np.bool_] = sizes == _USUAL_BYTES
    if not usual.any():
        return usual
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts)]
    data = np.frombuffer(texts.buffers()[2], np.uint8)
    starts = offsets[usual].astype(np.int64)
    good = np.ones(len(starts), np.bool_)
    for at, mark in _MARKS.items():
        good &= data[starts + at] == ord(mark)
    for at in range(3):  # the year 0 has three zeros, too; years before 10 are left to parse_time
        good &= (data[starts + at] != ord("0")) | (at > 0)
    usual[usual] = good
    return usual


def _parse_usual(texts: pa.StringArray) -> npt.NDArray[np.int64] | None:
    try:
        moments = texts.cast(pa.timestamp("us", "UTC"))
    except pa.ArrowInvalid:
        return None
    parsed: npt.NDArray[np.int64] = moments.cast(pa.int64()).to_numpy()
    return parsed


def _parse_one(text: str) -> int:
    try:
        return parse_time(text)
    except ValueError:
        return NO_TIME_US
