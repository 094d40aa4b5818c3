"""Bounds of a mean that hold at all sample sizes at once (confidence sequences).

Statistics are read every few seconds, so an ordinary test would reject every mean sooner or later. The chance that a
bound here ever excludes the true mean is at most alpha, however often one looks.

- binary: 0 or 1 per decision. While the mean given the past is at most m, each likelihood ratio
  (p/m)^k ((1-p)/(1-m))^(n-k) with p > m is a nonnegative supermartingale, and so is their mean over a grid of p. The
  mean ever passes 1/alpha with a chance of at most alpha (Ville; Robbins 1970; Howard et al. 2021). The bound is exact
  for every policy.
- count: the same with r^k exp(-n m (r - 1)). The bound assumes that the number of events of a decision is no more
  spread than a Poisson number of its mean, as 0 or 1 is. If one decision brings many events, the bound is too tight.
- real: rewards without known bounds. The bound is the asymptotic confidence sequence of Waudby-Smith et al. 2024. It is
  valid once the central limit theorem holds, so do not read it for a few decisions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Sample", "is_outside", "lower", "radius", "upper"]

# From a half of the way to the farthest alternative down to a millionth of it: effects of all sizes.
_STEPS = 2.0 ** -np.arange(1, 21)
# Alternatives to a rate of counts, as multiples of it.
_MORE, _LESS = 1 + 2.0 ** np.arange(4, -16, -1), 1 - _STEPS
# Where the asymptotic bound is tightest; it holds everywhere.
_TIGHTEST_N = 10_000
_HALVINGS = 50


class Sample(NamedTuple):
    """The data of one mean.

    Args:
        kind: "binary", "count" or "real".
        n: Number of decisions, at least 1.
        total: Sum of their values.
        squares: Sum of the squared values. Only "real" uses it.
    """

    kind: str
    n: int
    total: float
    squares: float = 0.0

    @property
    def mean(self) -> float:
        """Mean value of a decision."""
        return self.total / self.n


def is_outside(sample: Sample, limit: float, alpha: float, *, upwards: bool) -> bool:
    """Return whether the mean is confidently outside a limit. The test needs no search for the bound.

    Args:
        sample: The data.
        limit: The limit.
        alpha: Chance of ever being wrong.
        upwards: Whether the limit is the largest good mean. False means that it is the smallest.
    """
    kind, n, k, _ = sample
    if kind == "real":
        return lower(sample, alpha) > limit if upwards else upper(sample, alpha) < limit
    if sample.mean <= limit if upwards else sample.mean >= limit:
        return False
    if kind == "binary":
        log = _log_above(k, n, limit) if upwards else _log_above(n - k, n, 1 - limit)
    else:
        log = _log_more(k, n, limit) if upwards else _log_less(k, n, limit)
    return log >= -math.log(alpha)


def lower(sample: Sample, alpha: float) -> float:
    """Return the lower bound of the mean, which is ever wrong with a chance of at most alpha."""
    kind, n, k, _ = sample
    if kind == "real":
        return sample.mean - radius(_deviation(sample), n, alpha)
    log = _log_above if kind == "binary" else _log_more
    return 0.0 if k == 0 else _boundary(lambda m: log(k, n, m) >= -math.log(alpha), 0.0, sample.mean)


def upper(sample: Sample, alpha: float) -> float:
    """Return the upper bound of the mean, which is ever wrong with a chance of at most alpha."""
    kind, n, k, _ = sample
    if kind == "real":
        return sample.mean + radius(_deviation(sample), n, alpha)
    if kind == "binary":
        return 1 - lower(sample._replace(total=n - k), alpha)
    farthest = sample.mean + 1
    while _log_less(k, n, farthest) < -math.log(alpha):
        farthest *= 2
    return _boundary(lambda m: _log_less(k, n, m) >= -math.log(alpha), farthest, sample.mean)


def radius(deviation: float, n: float, alpha: float) -> float:
    """Return how far the mean of n values may be from the truth: the one-sided normal mixture.

    Source: Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024, "Time-uniform central limit theory and asymptotic
    confidence sequences".

    Args:
        deviation: Standard deviation of one value.
        n: Number of values.
        alpha: Chance that the bound is ever wrong. For an interval use half of its alpha.
    """
    wide = -2 * math.log(min(2 * alpha, 0.99))
    rho2 = (wide + math.log(wide + 1)) / _TIGHTEST_N
    spread = n * rho2 + 1
    return deviation * math.sqrt(2 * spread / (n * n * rho2) * math.log1p(math.sqrt(spread) / (2 * alpha)))


def _deviation(sample: Sample) -> float:
    return math.sqrt(max(0.0, sample.squares / sample.n - sample.mean**2))


def _boundary(rejected: Callable[[float], bool], outside: float, inside: float) -> float:
    """Return the border between rejected and accepted values, on the rejected side."""
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if rejected(middle) else (outside, middle)
    return outside


def _log_above(k: float, n: int, m: float) -> float:
    """Return the log evidence that the mean of 0s and 1s is above m, given k ones of n."""
    if m >= 1:
        return -math.inf
    if m <= 0:
        return math.inf
    p = m + (1 - m) * _STEPS
    return _log_mean(k * np.log(p / m) + (n - k) * np.log1p(-_STEPS))  # (1 - p) / (1 - m) is 1 - step


def _log_more(k: float, n: int, m: float) -> float:
    """Return the log evidence that the rate is above m."""
    return math.inf if m <= 0 else _log_mean(k * np.log(_MORE) - n * m * (_MORE - 1))


def _log_less(k: float, n: int, m: float) -> float:
    """Return the log evidence that the rate is below m."""
    return _log_mean(k * np.log(_LESS) - n * m * (_LESS - 1))


def _log_mean(logs: Any) -> float:
    """Return log(mean(exp(logs)))."""
    greatest = float(logs.max())
    return greatest + math.log(float(np.exp(logs - greatest).mean()))
