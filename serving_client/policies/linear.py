"""Bayesian linear regression of rewards on features, one per arm. The kinds `linucb` and `lints` share it.

The inverse of an arm's matrix takes longer than a request may, so `posterior` computes it once per snapshot.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from serving_client.policies.statistics import ArmStatistics, Float64s

__all__ = ["LinearPosterior", "linear_posterior"]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LinearPosterior:
    """Posteriors of k arms.

    Args:
        theta: A^-1 X'r with A = lambda I + X'X, float64 [..., k, d].
        inverse: A^-1, float64 [..., k, d, d].
        known: Share of the matured among the matured and pending decisions, (n + 1) / (n + 1 + pending), [..., k].
    """

    theta: Float64s
    inverse: Float64s
    known: Float64s

    def mean(self, x: Float64s) -> Float64s:
        """Return x'theta, float64 [..., k], for features x, float64 [..., k, d]."""
        mean: Float64s = np.matmul(self.theta[..., None, :], x[..., None])[..., 0, 0]
        return mean

    def variance(self, x: Float64s) -> Float64s:
        """Return x' A^-1 x, float64 [..., k], for features x, float64 [..., k, d]."""
        product = np.matmul(x[..., None, :], self.inverse)
        variance: Float64s = np.maximum(np.matmul(product, x[..., None])[..., 0, 0], 0.0)
        return variance

    def take(self, arms: Sequence[int]) -> LinearPosterior:
        """Return the posteriors of the arms at these positions."""
        at = np.asarray(arms, dtype=np.intp)
        return LinearPosterior(self.theta[..., at, :], self.inverse[..., at, :, :], self.known[..., at])


def linear_posterior(ridge: float, statistics: ArmStatistics) -> LinearPosterior:
    """Return the posteriors of the arms.

    Args:
        ridge: lambda, greater than 0.
        statistics: The arms, with xtx and xtr.

    Raises:
        ValueError: The statistics have no features.
    """
    if statistics.xtx is None or statistics.xtr is None:
        raise ValueError("a linear policy needs statistics with xtx and xtr; list features in the bandits file")
    inverse = np.linalg.inv(statistics.xtx + ridge * np.eye(statistics.xtx.shape[-1]))
    inverse = (inverse + np.swapaxes(inverse, -1, -2)) / 2
    theta = np.matmul(inverse, statistics.xtr[..., None])[..., 0]
    known = (statistics.n + 1) / (statistics.n + 1 + statistics.pending)
    return LinearPosterior(theta, inverse, known)
