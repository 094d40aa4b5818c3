"""Intervals that hold for any distribution of bounded values: the empirical Bernstein bound.

For n independent values with range R and sample variance V, with probability 1 - alpha,

    |mean - expectation| <= sqrt(2 V L / n) + 7 R L / (3 (n - 1)),  L = ln(4 / alpha)

Source: Maurer and Pontil, Empirical Bernstein bounds and sample variance penalization, 2009, theorem 4 for both ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["ALPHA", "Interval", "bernstein", "bernstein_of_ratio"]

ALPHA = 0.05
"""Chance that an interval misses: all intervals are 95% intervals."""

Interval = tuple[float, float]
_STEPS = 60  # bisections: the ends are exact to 2^-60 of the range


def bernstein(n: float, mean: float, mean_square: float, spread: float) -> Interval:
    """Return the interval of an expectation.

    Args:
        n: Number of values, at least 2.
        mean: Mean of the values.
        mean_square: Mean of their squares.
        spread: Largest possible value less the smallest.
    """
    radius = _radius(n, mean, mean_square, spread)
    return mean - radius, mean + radius


def bernstein_of_ratio(n: float, w: float, wr: float, ww: float, wwr: float, wwrr: float, spread: float) -> Interval:
    """Return the interval of a ratio of expectations E[w r] / E[w], with 0 <= r <= 1 after scaling.

    It holds every v for which 0 lies in the interval of E[w (r - v)].

    Args:
        n: Number of decisions, at least 2.
        w: Mean of w.
        wr: Mean of w r.
        ww: Mean of w^2.
        wwr: Mean of w^2 r.
        wwrr: Mean of w^2 r^2.
        spread: Largest possible w (r - v) less the smallest.

    Returns:
        The interval within [0, 1].
    """

    def holds(v: float) -> bool:
        mean, mean_square = wr - v * w, wwrr - 2 * v * wwr + v * v * ww
        return abs(mean) <= _radius(n, mean, mean_square, spread)

    if w <= 0:
        return 0.0, 1.0
    middle = min(max(wr / w, 0.0), 1.0)
    return _border(holds, middle, 0.0), _border(holds, middle, 1.0)


def _radius(n: float, mean: float, mean_square: float, spread: float) -> float:
    variance = max(mean_square - mean * mean, 0.0) * n / (n - 1)
    log = math.log(4 / ALPHA)
    return math.sqrt(2 * variance * log / n) + 7 * spread * log / (3 * (n - 1))


def _border(holds: Callable[[float], bool], inside: float, end: float) -> float:
    """Return the last value from `inside` towards `end` for which a condition holds, by bisection."""
    if holds(end):
        return end
    outside = end
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if holds(middle) else (inside, middle)
    return inside
