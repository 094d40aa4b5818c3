"""Beta posteriors of reward probabilities, on the scale of log-odds.

The log-odds x = ln(t / (1 - t)) of a Beta(a, b) variable t has the density t^a (1 - t)^b / B(a, b). That density is
log-concave and has no pole, also for a or b below 1, where the density of t itself is infinite at 0 or 1.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy import special

from serving_client.policies.statistics import ArmStatistics, Float64s

__all__ = ["LogOdds", "beta_parameters", "log_odds"]

_TINY = 1e-200
_FAR = 300.0  # exp(300) is a finite number and 1 + exp(300) = exp(300)
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)


def beta_parameters(statistics: ArmStatistics) -> tuple[Float64s, Float64s]:
    """Return alpha and beta of the posteriors, float64 [..., k] each.

    A reward of 1 is a success, and one of 0.3 is 0.3 of a success. Sums outside [0, n], which contradict the kind of
    reward, count as 0 or n.
    """
    successes = np.clip(statistics.sum_r, 0.0, statistics.n)
    alpha: Float64s = statistics.prior[..., 0] + successes
    beta: Float64s = statistics.prior[..., 1] + (statistics.n - successes)
    return alpha, beta


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LogOdds:
    """Log-odds of k Beta variables. `maximum.Variables` describes the methods.

    Args:
        a: First parameters, float64 [k].
        b: Second parameters, float64 [k].
        mean: Means of the log-odds, psi(a) - psi(b).
        scale: Standard deviations of the log-odds, sqrt(psi'(a) + psi'(b)).
        mode: Modes of the log-odds, ln(a / b).
        peak: Densities at the modes.
    """

    a: Float64s
    b: Float64s
    mean: Float64s
    scale: Float64s
    mode: Float64s
    peak: Float64s

    def bounds(self, log_odds: float) -> tuple[Float64s, Float64s]:
        """Return bounds of the tails: the tighter one of two.

        The log-odds are ln G_a - ln G_b of two Gamma variables, whose lower tails are sub-gamma with scales 1/a and 1/b
        (Boucheron, Lugosi and Massart 2013, section 2.4). For small a and x < 0, e^(a x) / (a B(a, b)) is closer.
        """
        width = math.sqrt(2 * log_odds) * self.scale
        power = special.betaln(self.a, self.b) - log_odds
        lower = np.maximum(self.mean - width - log_odds / self.a, np.minimum((power + np.log(self.a)) / self.a, 0.0))
        upper = np.minimum(self.mean + width + log_odds / self.b, np.maximum(-(power + np.log(self.b)) / self.b, 0.0))
        return lower, upper

    def density(self, x: Float64s) -> Float64s:
        """Return the densities. They are relative to the mode, since a x - (a + b) ln(1 + e^x) cancels for large a."""
        away = x - self.mode[:, None]
        total = self.a + self.b
        share = (self.a / total)[:, None]
        growth = np.log1p(share * np.expm1(np.minimum(away, _FAR)))  # ln((1 + e^x) / (1 + e^mode))
        if away.max() > _FAR:
            growth = np.where(away > _FAR, away + np.log(share), growth)
        density: Float64s = self.peak[:, None] * np.exp(self.a[:, None] * away - total[:, None] * growth)
        return density

    def distribution(self, x: Float64s) -> Float64s:
        """Return the distribution functions, by the smaller of t and 1 - t, which float64 resolves better."""
        a, b = self.a[:, None], self.b[:, None]
        small = special.expit(-np.abs(x))
        below = x <= 0
        result = np.empty((len(self.a), len(x)))
        result[:, below] = special.betainc(a, b, small[below])
        result[:, ~below] = special.betaincc(b, a, small[~below])
        if small.min(initial=1.0) < _TINY:  # t underflows, and t^a does not: integral of t^(a - 1) / B(a, b)
            scaled = special.betaln(a, b)
            first = np.exp(np.minimum(a * x - np.log(a) - scaled, 0.0))
            last = -np.expm1(np.minimum(-b * x - np.log(b) - scaled, 0.0))
            result = np.where(small < _TINY, np.where(below, first, last), result)
        return result

    def take(self, at: npt.NDArray[np.intp]) -> LogOdds:
        """Return the variables at these positions."""
        return LogOdds(self.a[at], self.b[at], self.mean[at], self.scale[at], self.mode[at], self.peak[at])


def log_odds(a: Float64s, b: Float64s) -> LogOdds:
    """Return the log-odds of Beta(a, b) variables.

    Args:
        a: First parameters, float64 [k], greater than 0.
        b: Second parameters, float64 [k], greater than 0.
    """
    total = a + b
    # At the mode t = a / (a + b) the density is sqrt(a b / (2 pi (a + b))), times what Stirling's formula leaves out.
    peak = np.sqrt(a / total * b / (2 * math.pi)) * np.exp(_remainder(total) - _remainder(a) - _remainder(b))
    scale = np.sqrt(special.zeta(2, a) + special.zeta(2, b))
    return LogOdds(a, b, special.psi(a) - special.psi(b), scale, np.log(a) - np.log(b), peak)


def _remainder(z: Float64s) -> Float64s:
    """Return ln Gamma(z) less Stirling's (z - 1/2) ln z - z + ln(2 pi) / 2."""
    large = np.maximum(z, 10.0)
    inverse = 1 / large
    square = inverse * inverse
    series = np.zeros_like(z)
    for coefficient in reversed(_STIRLING):
        series = series * square + coefficient
    series = series * inverse
    if z.min() >= 10:
        return series
    exact = special.gammaln(z) - ((z - 0.5) * np.log(z) - z + 0.5 * math.log(2 * math.pi))
    result: Float64s = np.where(z < 10, exact, series)
    return result
