"""The kind `ucb1`: the arm whose mean could be the largest, by Hoeffding's bound.

With `half_life` or `hours` the sums are those of discounted or sliding-window UCB (Garivier and Moulines 2011).

Source: Auer, Cesa-Bianchi and Fischer 2002, figure 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from serving_client.policies.means import means_of, share_of_best
from serving_client.policies.statistics import ArmStatistics, Float64s

__all__ = ["weights"]


def weights(policy: Mapping[str, Any], statistics: ArmStatistics) -> Float64s:
    """Return 1 for the arm with the largest mean + c sqrt(2 ln N / n). Arms with equal scores share it evenly.

    n counts matured and pending decisions and the prior's weight, and N is the sum of n. Arms with n = 0 come first.

    Args:
        policy: The policy, with `exploration` c.
        statistics: The arms. Rewards are in [0, 1].
    """
    means = means_of(statistics)
    log_total = np.log(np.maximum(means.tried.sum(axis=-1, keepdims=True), 1.0))
    tried = means.tried > 0
    bonus = float(policy["exploration"]) * np.sqrt(2 * log_total / np.where(tried, means.tried, 1.0))
    return share_of_best(np.where(tried, means.mean + bonus, np.inf))
