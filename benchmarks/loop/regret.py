"""The ratio of two mean regrets, with its interval."""

from __future__ import annotations

import math
from typing import NamedTuple

from benchmarks.loop.world import Float64s

__all__ = ["Ratio", "ratio_of"]

_Z = 1.959964  # 97.5% quantile of the normal distribution


class Ratio(NamedTuple):
    """A ratio of means and its 95% interval."""

    ratio: float
    lower: float
    upper: float


def ratio_of(regret: Float64s, base: Float64s) -> Ratio:
    """Return the ratio of the means of two independent samples, with an interval on the scale of its logarithm.

    The delta method gives the logarithm the variance var(x) / (n mean(x)^2) + var(y) / (m mean(y)^2).
    """
    variance = sum(each.var(ddof=1) / (each.size * each.mean() ** 2) for each in (regret, base))
    ratio, factor = regret.mean() / base.mean(), math.exp(_Z * math.sqrt(variance))
    return Ratio(float(ratio), float(ratio / factor), float(ratio * factor))
