"""The kind `epsilon_greedy`: a share is divided evenly, and the arm with the best mean gets the rest.

Source: Sutton and Barto 2018, section 2.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving_client.policies.means import means_of, share_of_best
from serving_client.policies.statistics import ArmStatistics, Float64s

__all__ = ["weights"]


def weights(policy: Mapping[str, Any], statistics: ArmStatistics) -> Float64s:
    """Return epsilon / k, and 1 - epsilon more for the arm with the largest mean. Arms with equal means share it.

    Args:
        policy: The policy, with `epsilon`.
        statistics: The arms.
    """
    epsilon = float(policy["epsilon"])
    even = epsilon / statistics.n.shape[-1]
    shares: Float64s = even + (1 - epsilon) * share_of_best(means_of(statistics).mean)
    return shares
