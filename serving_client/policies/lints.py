"""The kind `lints`: Thompson sampling with a mean reward that is linear in the features.

Source: Agrawal and Goyal 2013, algorithm 1, with one theta per arm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from serving_client.policies.linear import LinearPosterior
from serving_client.policies.maximum import largest
from serving_client.policies.normal import normal
from serving_client.policies.rows import each_row
from serving_client.policies.statistics import Float64s

__all__ = ["draw", "weights"]

_TOLERANCE = 1e-7  # a request computes this, and propensities are logged to 1e-6


def weights(policy: Mapping[str, Any], posterior: LinearPosterior, x: Float64s) -> Float64s:
    """Return the probability that an arm's score x'theta is the largest, with theta drawn from N(A^-1 X'r, v^2 A^-1).

    The arms' thetas are independent, so that scores are independent normal variables.

    Args:
        policy: The policy, with `noise` v.
        posterior: The arms.
        x: Features per arm, float64 [..., k, d].

    Returns:
        float64 [..., k], within 1e-6.
    """
    return each_row(_row, *_scores(policy, posterior, x))


def draw(
    policy: Mapping[str, Any], posterior: LinearPosterior, x: Float64s, rng: np.random.Generator
) -> npt.NDArray[np.intp]:
    """Return the positions of the arms with the largest scores, [...]."""
    mean, deviation = _scores(policy, posterior, x)
    arms: npt.NDArray[np.intp] = (mean + deviation * rng.standard_normal(mean.shape)).argmax(axis=-1)
    return arms


def _scores(policy: Mapping[str, Any], posterior: LinearPosterior, x: Float64s) -> tuple[Float64s, Float64s]:
    return posterior.mean(x), float(policy["noise"]) * np.sqrt(posterior.variance(x))


def _row(mean: Float64s, deviation: Float64s) -> Float64s:
    return largest(normal(mean, deviation), _TOLERANCE)
