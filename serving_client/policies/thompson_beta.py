"""The kind `thompson_beta`: Thompson sampling for rewards in [0, 1], with Beta posteriors.

With `half_life` the sums are those of discounted Thompson sampling, and with `hours` those of a sliding window.

Source: Thompson 1933. Chapelle and Li 2011, algorithm 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from serving_client.policies.beta import beta_parameters, log_odds
from serving_client.policies.maximum import largest
from serving_client.policies.rows import each_row
from serving_client.policies.statistics import ArmStatistics, Float64s

__all__ = ["draw", "weights"]


def weights(policy: Mapping[str, Any], statistics: ArmStatistics) -> Float64s:
    """Return the probability that an arm's draw from its posterior Beta(alpha, beta) is the largest.

    Args:
        policy: The policy.
        statistics: The arms. The prior is [alpha, beta].

    Returns:
        float64 [..., k], within 1e-9.
    """
    return each_row(_row, *beta_parameters(statistics))


def draw(policy: Mapping[str, Any], statistics: ArmStatistics, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Return the positions of the arms with the largest draws, [...]."""
    arms: npt.NDArray[np.intp] = rng.beta(*beta_parameters(statistics)).argmax(axis=-1)
    return arms


def _row(alpha: Float64s, beta: Float64s) -> Float64s:
    return largest(log_odds(alpha, beta))
