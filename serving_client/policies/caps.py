"""Limit arms to their caps, and give what the caps cut off to the other arms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from serving_client.policies.statistics import Float64s

__all__ = ["apply_caps"]

_NOTHING = 1e-9  # the accuracy of weights: below this the proportions between arms are rounding errors


def apply_caps(
    weights: Float64s,
    floor: float,
    caps: Float64s,
    default: int | None,
    weights_of: Callable[[Sequence[int]], Float64s],
) -> Float64s:
    """Return probabilities with a floor, of which none exceeds its cap where that is possible.

    An arm above its cap gets its cap. What the caps cut off goes to the other arms in proportion to their probability.
    If one of them now exceeds its own cap, the step is repeated.

    If the other arms had no weight, as when an upper confidence bound chooses a capped arm, they share by the policy's
    weights for these arms alone.

    If every arm is at its cap, the default arm takes the rest. Without it all arms exceed their caps by one factor.

    Args:
        weights: The policy's weights, float64 [k], k at least 1.
        floor: Smallest probability of an arm, at most 1 / k. A cap below it prevails.
        caps: Largest probability of each arm, float64 [k]. At least one is greater than 0.
        default: Position of the default arm. None if it is not among the arms.
        weights_of: Returns the policy's weights for a subset of positions.

    Returns:
        float64 [k], which sums to 1.
    """
    p: Float64s = floor + (1 - len(weights) * floor) * weights
    p /= p.sum()
    capped = np.zeros(len(p), dtype=bool)
    while (over := ~capped & (p > caps)).any():
        capped |= over
        p[over] = caps[over]
        rest = 1 - p[capped].sum()
        (free,) = np.nonzero(~capped)
        if len(free) == 0:
            if default is None:
                p /= p.sum()
                break
            p[default] += rest
        elif weights[free].sum() > _NOTHING:
            p[free] *= rest / p[free].sum()
        else:
            p[free] = floor + (rest - len(free) * floor) * weights_of(free.tolist())
    return p
