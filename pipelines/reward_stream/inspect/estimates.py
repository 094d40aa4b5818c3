"""Estimate the reward of an arm from its row: the mean with an interval, and the estimate from propensities.

The mean describes the arm where and when it was shown. SNIPS estimates the reward if the arm were always chosen.
Intervals cover 95% at a single look and do not support repeated comparisons of arms. Policies do not use them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["Estimate", "estimate", "normal", "wilson"]

Z = 1.959963984540054
"""The normal quantile of a two-sided interval of 95%."""


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """Hold the estimates of a row. A field is None if the row does not determine it.

    `kind` is "wilson" if every reward is 0 or 1, otherwise "normal". `snips` is sum w r / sum w. `ess` is the effective
    sample size.
    """

    mean: float | None
    low: float | None
    high: float | None
    kind: str
    snips: float | None
    ess: float | None


def estimate(row: Mapping[str, Any]) -> Estimate:
    """Estimate the reward of a row.

    Args:
        row: Row of a snapshot.

    Returns:
        The estimates.
    """
    n, sum_r, sum_r2, ipw = row["n"], row["sum_r"], row["sum_r2"], row["ipw"]
    # r^2 = r for 0 and 1 alone; in micro-units both sums are exact, and written to the nearest float64.
    binary = sum_r == sum_r2 and 0 <= sum_r <= n
    low, high = (None, None) if not n else wilson(n, sum_r) if binary else normal(n, sum_r, sum_r2)
    return Estimate(
        mean=sum_r / n if n else None,
        low=low,
        high=high,
        kind="wilson" if binary else "normal",
        snips=ipw["sum_wr"] / ipw["sum_w"] if ipw["sum_w"] else None,
        ess=ipw["sum_w"] ** 2 / ipw["sum_w2"] if ipw["sum_w2"] else None,
    )


def wilson(n: int, successes: float) -> tuple[float, float]:
    """Compute the score interval of a proportion (Wilson 1927).

    Args:
        n: Number of decisions, at least 1.
        successes: Number of successes.

    Returns:
        The bounds of the 95% interval.
    """
    p = successes / n
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    # At the ends the bounds are 0 and 1 exactly, which the subtraction misses by a rounding error.
    return 0.0 if successes == 0 else max(0.0, centre - half), 1.0 if successes == n else min(1.0, centre + half)


def normal(n: int, sum_r: float, sum_r2: float) -> tuple[float | None, float | None]:
    """Compute the interval mean ± z s / sqrt(n) with the sample variance.

    Args:
        n: Number of decisions.
        sum_r: Sum of the rewards.
        sum_r2: Sum of the squared rewards.

    Returns:
        The bounds of the 95% interval. (None, None) below two decisions.
    """
    if n < 2:
        return None, None
    mean = sum_r / n
    variance = max(0.0, (sum_r2 - n * mean * mean) / (n - 1))  # rounding may leave less than nothing
    half = Z * math.sqrt(variance / n)
    return mean - half, mean + half
