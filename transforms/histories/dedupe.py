"""Keep one interaction per user and item, and compute its weight and time.

The result depends only on the set of interactions, never on their order. So the rules also apply to an earlier result
together with later interactions, which is what an incremental run does.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import numpy.typing as npt

from transforms.errors import BadInput

__all__ = ["DedupeRule", "Deduplicated", "deduplicate", "taken_back"]

DedupeRule = Literal["last", "first", "sum", "max"]

_WEIGHT_EXPONENT = 30
"""Weights are summed as integers in units of 2^-30, so that a sum does not depend on its order. Sums below
2^23 are exact in float64. So an incremental run that adds to a stored sum gets the same result as a full run."""


@dataclasses.dataclass(frozen=True, eq=False)
class Deduplicated:
    """Interactions with distinct keys.

    Attributes:
        keys: int64, strictly ascending.
        weights: float64, or None if all are 1.
        timestamps: int64 microseconds since 1970, or None.
    """

    keys: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64] | None
    timestamps: npt.NDArray[np.int64] | None


def deduplicate(
    keys: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64] | None,
    timestamps: npt.NDArray[np.int64] | None,
    rule: DedupeRule,
) -> Deduplicated:
    """Merge the interactions that have the same key.

    Args:
        keys: One number per user and item, int64 [n].
        weights: float64 [n], or None if all are 1.
        timestamps: int64 [n], microseconds since 1970, or None.
        rule: last: the newest interaction; of equally new ones, or without times, the heaviest. first: the oldest; of
            equally old ones the lightest. max: the largest weight. sum: all weights added. For max and sum, the time
            is the newest time.

    Returns:
        One interaction per key.

    Raises:
        BadInput: A sum of weights reaches 2^23 (8,388,608), where units of 2^-30 are no longer exact.
    """
    if rule == "sum" and weights is None:
        weights = np.ones(len(keys))
    if weights is None and timestamps is None:
        ordered = np.sort(keys)  # np.unique takes 5 times as long, because since numpy 2.3 it hashes before it sorts
        return Deduplicated(ordered[np.diff(ordered, prepend=ordered[:1] - 1) != 0], None, None)
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    weights = None if weights is None else weights[order]
    timestamps = None if timestamps is None else timestamps[order]
    if len(starts) < len(keys) or rule == "sum":  # sums of one are rounded too, so other rows do not affect the result
        weights, timestamps = _MERGE[rule](weights, timestamps, starts)
    return Deduplicated(ordered[starts], weights, timestamps)


def taken_back(
    keys: npt.NDArray[np.int64], weights: npt.NDArray[np.float64], timestamps: npt.NDArray[np.int64] | None
) -> npt.NDArray[np.bool_]:
    """Return which interactions belong to a key whose newest weight is 0.

    Args:
        keys: One number per user and item, int64 [n].
        weights: float64 [n].
        timestamps: int64 [n], microseconds since 1970, or None.

    Returns:
        bool [n]. Of equally new interactions, or without times, the heaviest counts, as in `deduplicate`.
    """
    if weights.all():
        return np.zeros(len(keys), np.bool_)
    merged = deduplicate(keys, weights, timestamps, "last")
    return np.isin(keys, merged.keys[merged.weights == 0])


_Merged = tuple[npt.NDArray[np.float64] | None, npt.NDArray[np.int64] | None]


def _last(
    weights: npt.NDArray[np.float64] | None, times: npt.NDArray[np.int64] | None, starts: npt.NDArray[np.int64]
) -> _Merged:
    if times is None:
        return _reduce(np.maximum, weights, starts), None
    newest = np.maximum.reduceat(times, starts)
    if weights is None:
        return None, newest
    chosen = times == np.repeat(newest, _lengths(starts, len(times)))
    return np.maximum.reduceat(np.where(chosen, weights, -np.inf), starts), newest


def _first(
    weights: npt.NDArray[np.float64] | None, times: npt.NDArray[np.int64] | None, starts: npt.NDArray[np.int64]
) -> _Merged:
    if times is None:
        return _reduce(np.minimum, weights, starts), None
    oldest = np.minimum.reduceat(times, starts)
    if weights is None:
        return None, oldest
    chosen = times == np.repeat(oldest, _lengths(starts, len(times)))
    return np.minimum.reduceat(np.where(chosen, weights, np.inf), starts), oldest


def _max(
    weights: npt.NDArray[np.float64] | None, times: npt.NDArray[np.int64] | None, starts: npt.NDArray[np.int64]
) -> _Merged:
    newest = None if times is None else np.maximum.reduceat(times, starts)
    return _reduce(np.maximum, weights, starts), newest


def _sum(
    weights: npt.NDArray[np.float64] | None, times: npt.NDArray[np.int64] | None, starts: npt.NDArray[np.int64]
) -> _Merged:
    newest = None if times is None else np.maximum.reduceat(times, starts)
    if weights is None:
        return None, newest
    largest = float(weights.max())
    most = int(_lengths(starts, len(weights)).max())
    if largest * most >= 2.0**23 and float(np.add.reduceat(weights, starts).max()) >= 2.0**23:
        raise BadInput(
            "--dedupe=sum: the weights of one user and item add up to 8388608 or more, past what is summed exactly; "
            "scale the weights down (minutes instead of seconds) or use --dedupe=max"
        )
    units = np.rint(np.ldexp(weights, _WEIGHT_EXPONENT)).astype(np.int64)
    return np.ldexp(np.add.reduceat(units, starts).astype(np.float64), -_WEIGHT_EXPONENT), newest


def _reduce(
    ufunc: np.ufunc, weights: npt.NDArray[np.float64] | None, starts: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64] | None:
    return None if weights is None else ufunc.reduceat(weights, starts)


def _lengths(starts: npt.NDArray[np.int64], total: int) -> npt.NDArray[np.int64]:
    return np.diff(starts, append=total)


_MERGE = {"last": _last, "first": _first, "max": _max, "sum": _sum}
