"""The kind `fixed`: the shares that the bandits file lists, as in an A/B test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from serving_client.policies.statistics import ArmStatistics, Float64s

__all__ = ["weights"]


def weights(policy: Mapping[str, Any], statistics: ArmStatistics) -> Float64s:
    """Return `weights` of the policy, divided by their sum over the arms.

    An arm that the policy does not list has 0. If no arm has a share, all arms share evenly.

    Args:
        policy: The policy, with `weights` by arm.
        statistics: The arms, with `arm_ids`.
    """
    shares = np.array([float(policy["weights"].get(arm_id, 0.0)) for arm_id in statistics.arm_ids])
    total = shares.sum()
    shares = shares / total if total > 0 else np.full(len(shares), 1 / len(shares))
    return np.broadcast_to(shares, statistics.n.shape)
