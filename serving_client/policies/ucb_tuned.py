"""The kind `ucb_tuned`: UCB1 with a bonus that is smaller for arms whose rewards vary little.

Source: Auer, Cesa-Bianchi and Fischer 2002, section 4, UCB1-TUNED.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from serving_client.policies.means import means_of, share_of_best
from serving_client.policies.statistics import ArmStatistics, Float64s

__all__ = ["weights"]

_LARGEST_VARIANCE = 0.25  # of a reward in [0, 1]


def weights(policy: Mapping[str, Any], statistics: ArmStatistics) -> Float64s:
    """Return 1 for the arm with the largest mean + c sqrt(ln N / n min(1/4, V)). Equal scores share it evenly.

    V is the variance of the arm's rewards plus sqrt(2 ln N / n). n counts matured and pending decisions and the prior's
    weight, and N is the sum of n. Arms with n = 0 come first.

    Args:
        policy: The policy, with `exploration` c.
        statistics: The arms. Rewards are in [0, 1].
    """
    means = means_of(statistics)
    log_total = np.log(np.maximum(means.tried.sum(axis=-1, keepdims=True), 1.0))
    tried = means.tried > 0
    ratio = log_total / np.where(tried, means.tried, 1.0)
    matured = np.where(statistics.n > 0, statistics.n, 1.0)
    variance = np.maximum(statistics.sum_r2 / matured - (statistics.sum_r / matured) ** 2, 0.0)
    spread = np.minimum(np.where(statistics.n > 0, variance + np.sqrt(2 * ratio), np.inf), _LARGEST_VARIANCE)
    bonus = float(policy["exploration"]) * np.sqrt(ratio * spread)
    return share_of_best(np.where(tried, means.mean + bonus, np.inf))
