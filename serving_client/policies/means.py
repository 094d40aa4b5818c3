"""Mean rewards with their priors, and shares between arms that score alike. The kinds that compare means use this."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from serving_client.policies.statistics import ArmStatistics, Float64s

__all__ = ["Means", "means_of", "share_of_best"]


class Means(NamedTuple):
    """Means of k arms, float64 [..., k] each.

    Args:
        mean: (weight x prior mean + sum_r) / (weight + n). The prior mean where nothing else is known.
        n: weight + n, the decisions behind the mean.
        tried: weight + n + pending. An upper confidence bound uses it, so that a burst before the first maturing does
            not go to one arm.
    """

    mean: Float64s
    n: Float64s
    tried: Float64s


def means_of(statistics: ArmStatistics) -> Means:
    """Return the means of the arms. The prior is [mean, weight in decisions]."""
    prior, weight = statistics.prior[..., 0], statistics.prior[..., 1]
    n = weight + statistics.n
    known = n > 0
    mean = np.where(known, (weight * prior + statistics.sum_r) / np.where(known, n, 1.0), prior)
    return Means(mean, n, n + statistics.pending)


def share_of_best(score: Float64s) -> Float64s:
    """Return 1 for the arm with the largest score. Arms with equal scores share it evenly.

    Args:
        score: float64 [..., k]. Infinity is allowed.
    """
    best = score == score.max(axis=-1, keepdims=True)
    share: Float64s = best / best.sum(axis=-1, keepdims=True)
    return share
