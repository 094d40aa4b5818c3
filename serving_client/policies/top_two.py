"""The kind `top_two`: top-two Thompson sampling, which finds the best arm with fewer decisions than Thompson sampling.

Thompson sampling draws the leader. With probability beta the leader is shown. Otherwise the posteriors are drawn again
until another arm wins, and that arm is shown.

Source: Russo 2016, section 3.3. The draws are repeated at most 30 times here: after that, the best of the other arms in
a new draw is shown. So the probabilities stay computable when one arm is almost surely the best.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from serving_client.policies.beta import beta_parameters, log_odds
from serving_client.policies.maximum import largest, largest_without
from serving_client.policies.rows import each_row
from serving_client.policies.statistics import ArmStatistics, Float64s

__all__ = ["draw", "weights"]

_MOST_DRAWS = 30


def weights(policy: Mapping[str, Any], statistics: ArmStatistics) -> Float64s:
    """Return the probability that an arm is shown.

    a_i is the probability that i is the best arm, and b_ji that i is the best of all but j. Arm i follows leader j
    with a_i (1 + a_j + ... + a_j^29) + a_j^30 b_ji.

    Args:
        policy: The policy, with `beta`, the share of the leader.
        statistics: The arms. The prior is [alpha, beta].

    Returns:
        float64 [..., k], within 1e-9.
    """
    share = float(policy["beta"])

    def row(alpha: Float64s, beta: Float64s) -> Float64s:
        if len(alpha) == 1:
            return np.ones(1)
        variables = log_odds(alpha, beta)
        best = largest(variables, 3e-12)  # the sum of 30 powers multiplies its error
        tries = (best[:, None] ** np.arange(_MOST_DRAWS)).sum(axis=1)
        followers = best * tries[:, None] + (best**_MOST_DRAWS)[:, None] * largest_without(variables)
        np.fill_diagonal(followers, 0.0)
        followers /= followers.sum(axis=1, keepdims=True)
        shown: Float64s = share * best + (1 - share) * (best @ followers)
        return shown

    return each_row(row, *beta_parameters(statistics))


def draw(policy: Mapping[str, Any], statistics: ArmStatistics, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Return the positions of the arms that are shown, [...]."""
    alpha, beta = beta_parameters(statistics)
    shape, k = alpha.shape[:-1], alpha.shape[-1]
    alpha, beta = alpha.reshape(-1, k), beta.reshape(-1, k)
    shown: npt.NDArray[np.intp] = rng.beta(alpha, beta).argmax(axis=-1)
    if k == 1:
        return shown.reshape(shape)
    (open_,) = np.nonzero(rng.random(len(shown)) >= float(policy["beta"]))
    leaders = shown[open_]
    again = rng.beta(alpha[open_], beta[open_], size=(_MOST_DRAWS, len(open_), k)).argmax(axis=-1)
    other = again != leaders
    last = rng.beta(alpha[open_], beta[open_])
    last[np.arange(len(open_)), leaders] = -1.0
    first = again[other.argmax(axis=0), np.arange(len(open_))]
    shown[open_] = np.where(other.any(axis=0), first, last.argmax(axis=-1))
    return shown.reshape(shape)
