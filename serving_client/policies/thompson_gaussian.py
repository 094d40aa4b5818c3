"""The kind `thompson_gaussian`: Thompson sampling for rewards of any size, with normal posteriors of the means.

Source: Russo et al. 2018, section 3 (Gaussian rewards with known noise).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from serving_client.policies.maximum import largest
from serving_client.policies.means import means_of
from serving_client.policies.normal import normal
from serving_client.policies.rows import each_row
from serving_client.policies.statistics import ArmStatistics, Float64s

__all__ = ["draw", "weights"]


def weights(policy: Mapping[str, Any], statistics: ArmStatistics) -> Float64s:
    """Return the probability that an arm's draw from its posterior is the largest.

    The posterior of an arm's mean is normal with mean (weight x prior mean + sum_r) / (weight + n) and variance
    noise^2 / (weight + n).

    Args:
        policy: The policy. `noise` is the standard deviation of one decision's reward. Without it, the rows tell.
        statistics: The arms. The prior is [mean, weight in decisions], and its weight is greater than 0.

    Returns:
        float64 [..., k], within 1e-9.
    """
    return each_row(_row, *_posterior(policy, statistics))


def draw(policy: Mapping[str, Any], statistics: ArmStatistics, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Return the positions of the arms with the largest draws, [...]."""
    mean, deviation = _posterior(policy, statistics)
    arms: npt.NDArray[np.intp] = (mean + deviation * rng.standard_normal(mean.shape)).argmax(axis=-1)
    return arms


def _posterior(policy: Mapping[str, Any], statistics: ArmStatistics) -> tuple[Float64s, Float64s]:
    means = means_of(statistics)
    noise = np.float64(policy["noise"]) if "noise" in policy else _noise(statistics)
    return means.mean, noise / np.sqrt(means.n)


def _noise(statistics: ArmStatistics) -> Float64s:
    """Return the standard deviation of rewards within the arms, float64 [..., 1], pooled over the arms.

    One pseudo-decision with the mean squared reward as its variance keeps the deviation positive: few equal rewards do
    not make an arm certain. Without a reward other than 0 the deviation is 1.
    """
    n = np.where(statistics.n > 0, statistics.n, 1.0)
    squares = np.maximum(statistics.sum_r2 - statistics.sum_r**2 / n, 0.0).sum(axis=-1, keepdims=True)
    freedom = np.maximum(statistics.n - 1, 0.0).sum(axis=-1, keepdims=True)
    total = statistics.n.sum(axis=-1, keepdims=True)
    square = statistics.sum_r2.sum(axis=-1, keepdims=True) / np.where(total > 0, total, 1.0)
    variance = (square + squares) / (1 + freedom)
    noise: Float64s = np.sqrt(np.where(square > 0, variance, 1.0))
    return noise


def _row(mean: Float64s, deviation: Float64s) -> Float64s:
    return largest(normal(mean, deviation))
