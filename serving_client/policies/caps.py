"""Limit arms to their caps, and give what the caps cut off to the other arms.

A request computes this, so it works on lists: for ten arms they take a third of the time of arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["apply_caps"]

_NOTHING = 1e-9  # the accuracy of weights: below this the proportions between arms are rounding errors


def apply_caps(
    weights: Sequence[float],
    floor: float,
    caps: Sequence[float],
    default: int | None,
    weights_of: Callable[[Sequence[int]], Sequence[float]],
) -> list[float]:
    """Return probabilities with a floor, of which none exceeds its cap where that is possible.

    An arm above its cap gets its cap. What the caps cut off goes to the other arms in proportion to their probability.
    If one of them now exceeds its own cap, the step is repeated.

    If the other arms had no weight, as when an upper confidence bound chooses a capped arm, they share by the policy's
    weights for these arms alone.

    If every arm is at its cap, the default arm takes the rest. Without it all arms exceed their caps by one factor.

    Args:
        weights: The policy's weights of the arms, at least one. Their sum is 1.
        floor: Smallest probability of an arm, at most 1 / arms. A cap below it prevails.
        caps: Largest probability of each arm. At least one is greater than 0.
        default: Position of the default arm. None if it is not among the arms.
        weights_of: Returns the policy's weights for a subset of positions.

    Returns:
        Probabilities of the arms. Their sum is 1, up to rounding.
    """
    p = [floor + (1 - len(weights) * floor) * weight for weight in weights]
    free, rest = list(range(len(p))), 1.0
    while over := [at for at in free if p[at] > caps[at]]:
        free = [at for at in free if p[at] <= caps[at]]
        for at in over:
            p[at] = caps[at]
        rest -= sum(caps[at] for at in over)
        if not free:
            if default is None:
                total = sum(p)
                return [each / total for each in p]
            p[default] += rest
        elif sum(weights[at] for at in free) > _NOTHING:
            factor = rest / sum(p[at] for at in free)
            for at in free:
                p[at] *= factor
        else:
            for at, weight in zip(free, weights_of(free), strict=True):
                p[at] = floor + (rest - len(free) * floor) * weight
    return p
