"""The kind `linucb`: the arm whose mean reward, linear in the features, could be the largest.

Source: Li, Chu, Langford and Schapire 2010, algorithm 1 (disjoint models).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from serving_client.policies.linear import LinearPosterior
from serving_client.policies.means import share_of_best
from serving_client.policies.statistics import Float64s

__all__ = ["weights"]


def weights(policy: Mapping[str, Any], posterior: LinearPosterior, x: Float64s) -> Float64s:
    """Return 1 for the arm with the largest x'theta + alpha sqrt(x' A^-1 x). Arms with equal scores share it evenly.

    The features of pending decisions are not known yet. The bonus squared is multiplied by (n + 1) / (n + 1 + pending),
    as if pending decisions had the features of the matured ones.

    Args:
        policy: The policy, with `exploration` alpha.
        posterior: The arms.
        x: Features per arm, float64 [..., k, d].
    """
    bonus = float(policy["exploration"]) * np.sqrt(posterior.variance(x) * posterior.known)
    return share_of_best(posterior.mean(x) + bonus)
