"""Compare the mean rewards of two groups of decisions, with intervals that hold at every look.

The interval is the asymptotic confidence sequence of Waudby-Smith et al. 2024 (see `transforms.inference.sequences`),
applied to the difference of two ratios by linearization (the delta method). The relative lift is Fieller's (1954): it
holds every t for which the sequence of mean_a - t mean_b holds 0. So the relative interval leaves out 0 exactly if the
difference's interval does.

The sequence needs the central limit theorem. `too_few` says when a group is too small for it.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from transforms.inference.sequences import radius

__all__ = ["Contrast", "Group", "Lift", "lift_of", "multiplier", "ratio_contrast", "too_few"]

Float64s = npt.NDArray[np.float64]

_LEAST_N = 100
_LEAST_REWARDED = 20
"""With fewer rewards (or, for 0 and 1, fewer decisions without one) the normal approximation is poor. Effective numbers
count, because a few decisions of a small propensity may outweigh all others. In the simulation
of the tests, at alpha 5% and under an adaptive policy, 5 give false alarms in 5% to 6% of runs, and 20 in 1% to 2%."""


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """One group of decisions as it was observed.

    Args:
        name: Name of the arm, or of another group.
        n: Decisions.
        sum_r: Sum of their rewards.
        sum_r2: Sum of their squared rewards.
        ess: Effective sample size of the weights, (sum w)^2 / sum w^2.
        rewarded: The same of the decisions with a reward, (sum w r)^2 / sum (w r)^2.
        unrewarded: The same of the decisions without one. It is used if rewards are 0 or 1.
    """

    name: str
    n: float
    sum_r: float
    sum_r2: float
    ess: float
    rewarded: float
    unrewarded: float

    @property
    def is_binary(self) -> bool:
        """Whether every reward is 0 or 1, because r^2 = r for these alone."""
        return self.sum_r == self.sum_r2 and 0 <= self.sum_r <= self.n


@dataclasses.dataclass(frozen=True, slots=True)
class Contrast:
    """Two estimated means and the covariance of their errors.

    Args:
        mean: Mean reward of the group.
        base: Mean reward of the group that it is compared with.
        variance: Variance of `mean`.
        base_variance: Variance of `base`.
        covariance: Covariance of the two.
        units: Number of independent units (decisions or users) in both.
    """

    mean: float
    base: float
    variance: float
    base_variance: float
    covariance: float
    units: float

    @property
    def difference(self) -> float:
        """Mean less base."""
        return self.mean - self.base

    @property
    def difference_variance(self) -> float:
        """Variance of the difference."""
        return max(0.0, self.variance - 2 * self.covariance + self.base_variance)


@dataclasses.dataclass(frozen=True, slots=True)
class Lift:
    """A contrast with its intervals. A relative value is None if the base may be 0.

    Args:
        difference: Mean less base, in reward units.
        low: Lower end of the interval of the difference.
        high: Upper end of the interval of the difference.
        relative: Difference divided by the base.
        relative_low: Lower end of the interval of the relative lift.
        relative_high: Upper end of the interval of the relative lift.
    """

    difference: float
    low: float
    high: float
    relative: float | None
    relative_low: float | None
    relative_high: float | None


def ratio_contrast(sums: Float64s, products: Float64s, units: float) -> Contrast:
    """Compare the ratios sum w r / sum w of two groups (SNIPS if w is 1 / propensity).

    Args:
        sums: Sums of w and w r of the group, then of the base, float64 [4].
        products: Sums over units of the products of these four, float64 [4, 4]. A unit's value is its sum.
        units: Number of units.

    Returns:
        The contrast. The error of a ratio is sum (w r - mean w) / sum w.
    """
    w, wr, base_w, base_wr = sums.tolist()
    mean, base = wr / w, base_wr / base_w
    gradient = np.array([[-mean / w, 1 / w, 0, 0], [0, 0, -base / base_w, 1 / base_w]])
    (variance, covariance), (_, base_variance) = (gradient @ products @ gradient.T).tolist()
    return Contrast(mean, base, variance, base_variance, covariance, units)


def lift_of(contrast: Contrast, alpha: float) -> Lift:
    """Return the lift with intervals that are ever wrong with a chance of at most alpha."""
    k2 = multiplier(contrast.units, alpha) ** 2
    half = math.sqrt(k2 * contrast.difference_variance)
    difference, base = contrast.difference, contrast.base
    relative = difference / base if base > 0 else None
    low, high = _fieller(contrast, k2) if base > 0 else (None, None)
    return Lift(difference, difference - half, difference + half, relative, low, high)


def multiplier(units: float, alpha: float) -> float:
    """Return the half width of the interval in standard errors. 1.96 would hold at a single look."""
    return math.sqrt(units) * radius(1.0, units, alpha / 2)


def too_few(group: Group) -> str | None:
    """Return why a group is too small for an interval, or None if it is not."""
    if min(group.n, group.ess) < _LEAST_N:
        return f"{group.name} has {_counted(group.n, 'decisions', group.ess)}, and {_LEAST_N} are needed"
    if group.is_binary:
        kinds = ("with", group.sum_r, group.rewarded), ("without", group.n - group.sum_r, group.unrewarded)
        for kind, decisions, effective in kinds:
            if min(decisions, effective) < _LEAST_REWARDED:
                counted = _counted(decisions, f"decisions {kind} a reward", effective)
                return f"{group.name} has {counted}, and {_LEAST_REWARDED} are needed"
    return None


def _counted(n: float, what: str, effective: float) -> str:
    """Return a number of decisions, with the effective number where weights make it smaller."""
    text = f"{n:,.0f} {what}"
    return text if round(effective) >= round(n) else f"{text}, which weigh as much as {effective:,.0f}"


def _fieller(contrast: Contrast, k2: float) -> tuple[float | None, float | None]:
    """Return the interval of mean / base - 1: the t with (mean - t base)^2 <= k2 Var(mean - t base), less 1."""
    a = contrast.base**2 - k2 * contrast.base_variance
    b = contrast.mean * contrast.base - k2 * contrast.covariance
    c = contrast.mean**2 - k2 * contrast.variance
    if a <= 0:  # the base may be 0, so the ratio has no bounds
        return None, None
    root = math.sqrt(max(0.0, b * b - a * c))
    return (b - root) / a - 1, (b + root) / a - 1
