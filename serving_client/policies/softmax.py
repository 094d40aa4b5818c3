"""The kind `softmax`: arms get shares by the exponential of their means (Boltzmann exploration).

Source: Sutton and Barto 1998, section 2.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from serving_client.policies.means import means_of
from serving_client.policies.statistics import ArmStatistics, Float64s

__all__ = ["weights"]


def weights(policy: Mapping[str, Any], statistics: ArmStatistics) -> Float64s:
    """Return exp(mean / T) divided by its sum over the arms.

    Args:
        policy: The policy, with `temperature` T in reward units.
        statistics: The arms.
    """
    mean = means_of(statistics).mean
    powers = np.exp((mean - mean.max(axis=-1, keepdims=True)) / float(policy["temperature"]))
    shares: Float64s = powers / powers.sum(axis=-1, keepdims=True)
    return shares
