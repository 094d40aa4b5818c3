"""Estimate what a policy would have earned per decision, from the sums over weighed decisions.

With n decisions, reward r, weight w = target's probability / propensity, and by a reward model the expected reward q of
the drawn arm and b of the target, and c = w (r - q):

    IPS        sum(w r) / n                          Horvitz and Thompson 1952
    SNIPS      sum(w r) / sum(w)                     Swaminathan and Joachims 2015
    DR         sum(b + c) / n                        Dudik, Langford and Li 2011
    switch-DR  sum(b + c [w <= tau]) / n             Wang, Agarwal and Dudik 2017

    ESS        sum(w)^2 / sum(w^2)                   Kish 1965

Where decisions of a user depend on each other, the ESS counts users: w is then the sum over a user's decisions. The
bootstrap knows sum(w^2), because a Poisson(1) number has a variance of 1.

tau is the power of two with the least variance plus squared bias bound, as in Wang et al. The bound of the bias is the
target's mass on arms whose weight is above tau, times the range of the rewards.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from pipelines.off_policy.intervals import ALPHA, Interval, bernstein, bernstein_of_ratio
from pipelines.off_policy.sums import BIN_COLUMNS, Sums
from pipelines.off_policy.weight_bins import BINS, edge

__all__ = ["Difference", "Estimate", "Estimates", "estimate"]

Float64s = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Estimate:
    """An estimate of the reward per decision.

    Args:
        name: Name of the estimator.
        value: The estimate.
        standard_error: Standard deviation over the bootstrap's replicates.
        interval: 95% interval of the bootstrap.
        bernstein: 95% interval by the empirical Bernstein bound. None if decisions depend on each other.
    """

    name: str
    value: float
    standard_error: float
    interval: Interval
    bernstein: Interval | None


@dataclasses.dataclass(frozen=True)
class Difference:
    """An estimate less the mean reward of the log, decision by decision.

    Args:
        value: The difference.
        interval: 95% interval of the bootstrap.
    """

    value: float
    interval: Interval


@dataclasses.dataclass(frozen=True)
class Estimates:
    """All estimates of a policy.

    Args:
        logged: Mean reward of the log.
        estimates: IPS, SNIPS, DR and switch-DR.
        differences: Each estimate less the mean of the log, by name.
        ess: Effective sample size: decisions, or users if decisions depend on each other.
        tau: Largest weight that switch-DR corrects with. Infinite: it is DR.
        mean_weight: Mean of the weights. It is near 1 less the unsupported share if the propensities are right.
        mean_weight_interval: 95% interval of the bootstrap.
    """

    logged: Estimate
    estimates: tuple[Estimate, ...]
    differences: dict[str, Difference]
    ess: float
    tau: float
    mean_weight: float
    mean_weight_interval: Interval


def estimate(sums: Sums, reward_range: Interval, *, independent: bool) -> Estimates:
    """Compute the estimates.

    Args:
        sums: Sums over at least 2 decisions.
        reward_range: Smallest and largest possible reward.
        independent: Decisions do not depend on each other, so that the empirical Bernstein bound holds.
    """
    n = sums.moment("n")
    mean = {name: value / n for name, value in zip(_MEANS, (sums.moment(name) for name in _MEANS), strict=True)}
    low, high = reward_range
    zero_low, zero_high, spread = min(low, 0.0), max(high, 0.0), high - low
    tau = _tau(sums, spread)
    replicates = sums.replicates[sums.replicates[:, 0] > 0]  # a replicate of few decisions may be empty
    m, r, w, wr, b = replicates[:, :5].T
    c = replicates[:, 5:]
    kept = np.array([edge(number) <= tau for number in range(BINS)])
    values = {
        "logged": (mean["r"], r / m),
        "ips": (mean["wr"], wr / m),
        "snips": (_ratio(mean["wr"], mean["w"]), np.divide(wr, w, out=np.zeros_like(w), where=w > 0)),
        "dr": (_corrected(sums, np.ones(BINS, np.bool_)), (b + c.sum(axis=1)) / m),
        "switch_dr": (_corrected(sums, kept), (b + c[:, kept].sum(axis=1)) / m),
    }
    bounds: dict[str, Callable[[], Interval]] = {
        "logged": lambda: bernstein(n, mean["r"], mean["rr"], spread),
        "ips": lambda: bernstein(n, mean["wr"], mean["wwrr"], sums.bound * (zero_high - zero_low)),
        "snips": lambda: _of_ratio(n, mean, sums.bound, reward_range),
        "dr": lambda: _of_corrected(sums, np.ones(BINS, np.bool_), sums.bound, spread),
        "switch_dr": lambda: _of_corrected(sums, kept, min(tau, sums.bound), spread),
    }
    found = {
        name: Estimate(
            name, value, float(again.std(ddof=1)), _percentiles(again), bounds[name]() if independent else None
        )
        for name, (value, again) in values.items()
    }
    logged = found.pop("logged")
    differences = {
        name: Difference(each.value - logged.value, _percentiles(values[name][1] - values["logged"][1]))
        for name, each in found.items()
    }
    return Estimates(
        logged=logged,
        estimates=tuple(found.values()),
        differences=differences,
        ess=_ratio(sums.moment("w") ** 2, max(sums.moment("ww"), 0.0 if independent else float(w.var(ddof=1)))),
        tau=tau,
        mean_weight=mean["w"],
        mean_weight_interval=_percentiles(w / m),
    )


_MEANS = ("r", "rr", "w", "ww", "wr", "wwr", "wwrr", "b", "bb")


def _bin(sums: Sums, name: str) -> Float64s:
    column: Float64s = sums.bins[:, BIN_COLUMNS.index(name)]
    return column


def _corrected(sums: Sums, kept: npt.NDArray[np.bool_]) -> float:
    return float((sums.moment("b") + _bin(sums, "c")[kept].sum()) / sums.moment("n"))


def _mean_square(sums: Sums, kept: npt.NDArray[np.bool_]) -> float:
    """Return the mean of (b + c [kept])^2."""
    squares = sums.moment("bb") + (2 * _bin(sums, "bc") + _bin(sums, "cc"))[kept].sum()
    return float(squares / sums.moment("n"))


def _of_corrected(sums: Sums, kept: npt.NDArray[np.bool_], bound: float, spread: float) -> Interval:
    # b lies in the range of the rewards, and the correction in [-bound, bound] times it.
    return bernstein(sums.moment("n"), _corrected(sums, kept), _mean_square(sums, kept), (1 + 2 * bound) * spread)


def _of_ratio(n: float, mean: dict[str, float], bound: float, reward_range: Interval) -> Interval:
    """Return the interval of SNIPS, with rewards scaled to [0, 1]."""
    low, spread = reward_range[0], reward_range[1] - reward_range[0]
    if spread <= 0:
        return reward_range
    w, ww = mean["w"], mean["ww"]
    wr, wwr = (mean["wr"] - low * w) / spread, (mean["wwr"] - low * ww) / spread
    wwrr = (mean["wwrr"] - 2 * low * mean["wwr"] + low * low * ww) / spread**2
    ends = bernstein_of_ratio(n, w, wr, ww, wwr, wwrr, bound)
    return low + spread * ends[0], low + spread * ends[1]


def _tau(sums: Sums, spread: float) -> float:
    """Choose the largest weight that switch-DR corrects with, 1 or more."""
    n, best = sums.moment("n"), (float("inf"), float("inf"))
    used = [number for number in range(BINS) if edge(number) >= 1]
    for number in used:
        kept = np.arange(BINS) <= number
        variance = max(_mean_square(sums, kept) - _corrected(sums, kept) ** 2, 0.0)
        bias = _bin(sums, "mass")[~kept].sum() / n * spread
        best = min(best, (variance / n + bias * bias, edge(number)))
        if not _bin(sums, "n")[~kept].any():
            break
    nothing_left_out = not _bin(sums, "n")[[edge(number) > best[1] for number in range(BINS)]].any()
    return float("inf") if nothing_left_out else best[1]


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else 0.0


def _percentiles(values: Float64s) -> Interval:
    low, high = np.quantile(values, [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)
