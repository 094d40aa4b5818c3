"""Decide what the estimates are worth: refused, or what to do with the policy in one sentence."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pipelines.off_policy.estimators import Estimates

__all__ = ["MOST_UNSUPPORTED", "PREFERRED", "Promote", "promote", "propensity_notes", "refusals"]

MOST_UNSUPPORTED = 0.01
"""Largest share of the target's mass on arms that the log could not draw."""
PREFERRED = "dr"
"""Estimator that decides. It is unbiased where the propensities are right, and varies less than IPS."""


@dataclasses.dataclass(frozen=True)
class Promote:
    """What to do with the policy.

    Args:
        verdict: `promote`, `keep` (the logged policy is better), `undecided` or `refused`.
        sentence: The verdict in words, with the figures.
    """

    verdict: str
    sentence: str


def refusals(ess: float, min_ess: float, unsupported: float, arms: Sequence[str]) -> list[str]:
    """Return why the estimates are refused, one sentence each.

    Args:
        ess: Effective sample size.
        min_ess: Its smallest value.
        unsupported: Share of the target's mass on arms that the log could not draw.
        arms: These arms, the one with the largest mass first.
    """
    found = []
    if ess < min_ess:
        found.append(
            f"the effective sample size {ess:,.0f} is below --min_ess={min_ess:g}; log more decisions, or evaluate a "
            f"policy that is closer to the logged one"
        )
    if unsupported > MOST_UNSUPPORTED:
        found.append(
            f"{unsupported:.1%} of the policy's mass has no logged propensity, more than {MOST_UNSUPPORTED:.0%}, "
            f"mostly on arm {arms[0]}; give the arm a floor in the live policy and log again"
        )
    return found


def promote(name: str, found: Estimates, decisions: int, refused: Sequence[str]) -> Promote:
    """Return what to do with the policy.

    Args:
        name: Name of the policy.
        found: The estimates.
        decisions: Number of decisions.
        refused: Why the estimates are refused.
    """
    if refused:
        return Promote("refused", f"no verdict on {name}: {refused[0]}")
    value = next(each.value for each in found.estimates if each.name == PREFERRED)
    difference = found.differences[PREFERRED]
    low, high = difference.interval
    figures = (
        f"{name} would have earned {value:.4g} a decision and the log earned {found.logged.value:.4g}, a difference of "
        f"{difference.value:+.4g} (95% interval {low:+.4g} to {high:+.4g}, doubly robust)"
    )
    if low > 0:
        return Promote("promote", f"promote: {figures}; start with a ramp")
    if high < 0:
        return Promote("keep", f"keep the live policy: {figures}")
    needed = _needed(decisions, difference.value, (high - low) / 2)
    return Promote("undecided", f"undecided: {figures}{needed}")


def propensity_notes(found: Estimates, unsupported: float) -> list[str]:
    """Return a warning if the weights do not average 1 less the unsupported share.

    They do if the logged propensities are the chances of the draws.
    """
    expected = 1 - unsupported
    low, high = found.mean_weight_interval
    half = (high - low) / 2
    if abs(found.mean_weight - expected) <= 2 * half + 1e-9:  # four standard errors
        return []
    return [
        f"the weights average {found.mean_weight:.3g} instead of {expected:.3g}; the logged propensities are not the "
        f"chances of the draws, so do not trust the estimates"
    ]


def _needed(decisions: int, difference: float, half: float) -> str:
    """Return how many decisions decide a difference of this size, if the number can be said."""
    if not difference or half / abs(difference) > 100:
        return ""
    return f"; about {decisions * (half / difference) ** 2:,.0f} decisions would decide a difference of this size"
