"""The kinds of policy in a bandits file: their parameters, their priors, and contradictions between values.

This module checks values as written in the file. The router computes probabilities from a snapshot.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

__all__ = ["DEFAULT_PRIORS", "LINEAR", "NO_PRIOR", "policy_faults", "policy_of", "prior_faults"]

# Defaults of the parameters by kind. Every kind also has `floor`.
_DEFAULTS: Mapping[str, Mapping[str, float]] = {
    "thompson_beta": {},
    "thompson_gaussian": {},
    "top_two": {"beta": 0.5},
    "epsilon_greedy": {},
    "ucb1": {"exploration": 1.0},
    "ucb_tuned": {"exploration": 1.0},
    "softmax": {},
    "linucb": {"exploration": 1.0, "ridge": 1.0},
    "lints": {"noise": 1.0, "ridge": 1.0},
    "fixed": {},
}

DEFAULT_PRIORS: Mapping[str, tuple[float, float]] = {
    "thompson_beta": (1.0, 1.0),
    "top_two": (1.0, 1.0),
    "thompson_gaussian": (0.0, 1.0),
    "epsilon_greedy": (0.0, 0.0),
    "ucb1": (0.0, 0.0),
    "ucb_tuned": (0.0, 0.0),
    "softmax": (0.0, 0.0),
}
"""Default prior of an arm by kind: [alpha, beta] of a Beta distribution, or [mean, weight in decisions]."""

NO_PRIOR = frozenset(_DEFAULTS) - frozenset(DEFAULT_PRIORS)
"""Kinds without a prior. They use `ridge` instead, or do not learn."""

_BETA = frozenset({"thompson_beta", "top_two"})
LINEAR = frozenset({"linucb", "lints"})
"""Kinds whose rewards are linear in the features."""


def policy_of(policy: Mapping[str, Any]) -> dict[str, Any]:
    """Return the policy with every default filled in."""
    return {"floor": 0.0, **_DEFAULTS[policy["kind"]], **policy}


def policy_faults(
    policy: Mapping[str, Any],
    active: Collection[str],
    aggregate: str,
    half_lives: Collection[str],
    hours_kept: int,
    features: int,
) -> Iterator[str]:
    """Yield the contradictions of a policy. Each message continues after the bandit's name and a dot.

    Args:
        policy: Policy with its defaults filled in.
        active: Names of the active arms.
        aggregate: The attribution's aggregate.
        half_lives: The bandit's half-lives, as written in the file.
        hours_kept: Hours of statistics that are kept.
        features: Number of the bandit's features.
    """
    kind, floor, arms = policy["kind"], policy["floor"], len(active)
    if floor * arms > 1:
        yield f"policy.floor {floor} times {arms} arms exceeds 1; use {_at_most(arms):g} or less"
    if kind in _BETA and aggregate != "any":
        yield (
            f"attribution.aggregate {aggregate} can leave [0, 1], but policy.kind {kind} needs [0, 1]; "
            f"use aggregate any or kind thompson_gaussian"
        )
    if kind in LINEAR and not features:
        yield f"policy.kind {kind} needs features and the bandit has none; list features or use another kind"
    if policy.get("half_life", next(iter(half_lives), None)) not in (*half_lives, None):
        yield f"policy.half_life {policy['half_life']} is not in half_lives; add it there, in the same form"
    if policy.get("hours", 0) > hours_kept:
        yield f"policy.hours {policy['hours']} is more than hours_kept {hours_kept}; raise hours_kept or lower it"
    if "half_life" in policy and "hours" in policy:
        yield "policy has both half_life and hours; remove one of them"
    if kind == "fixed":
        yield from _weight_faults(policy["weights"], active)


def prior_faults(kind: str, prior: Mapping[str, Any], arms: Collection[str]) -> Iterator[str]:
    """Yield the contradictions of the file's `prior`. Each message continues after the bandit's name and a dot.

    Args:
        kind: The policy's kind.
        prior: Prior per arm, as in the file.
        arms: Names of all arms.
    """
    if kind in NO_PRIOR and prior:
        yield f"prior: policy.kind {kind} does not use a prior; remove it"
        return
    for arm_id, (first, second) in prior.items():
        if arm_id not in arms:
            yield f"prior.{arm_id} does not belong to an arm; the arms are {', '.join(arms)}"
        elif kind in _BETA and min(first, second) <= 0:
            yield f"prior.{arm_id} [{first:g}, {second:g}] is not a Beta distribution; make both numbers greater than 0"
        elif second < 0 or (kind == "thompson_gaussian" and second == 0):
            least = "greater than 0" if kind == "thompson_gaussian" else "0 or more"
            yield f"prior.{arm_id} [{first:g}, {second:g}] has a weight of {second:g}; make it {least}"


def _weight_faults(weights: Mapping[str, float], active: Collection[str]) -> Iterator[str]:
    for arm_id in weights:
        if arm_id not in active:
            yield f"policy.weights.{arm_id} does not belong to an active arm; the active arms are {', '.join(active)}"
    total = math.fsum(weights.values())
    if abs(total - 1) > 1e-9:  # accepts 0.1 + 0.2 + 0.7, but not three times 0.333333333
        yield f"policy.weights add up to {total:g}; make them add up to 1"


def _at_most(arms: int) -> float:
    """Return the largest floor, in four decimals, that fits."""
    return math.floor(10_000 / arms) / 10_000
