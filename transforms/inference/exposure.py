"""Test whether the arms got the traffic that the logged propensities imply (sample-ratio mismatch).

The test is valid at every look, however often one looks.

If propensities are right, a decision adds 1/p to the arm drawn, with probability p, and 0 to the others. An arm's
`sum_w` then grows by 1 a decision on average, and by less while the arm is not eligible. So x = w - 1 has mean <= 0
given the past, for every policy, and x >= -1. For such x and 0 <= l < 1

    E exp(l x - psi(l) x^2) <= 1 + l E x <= 1,   psi(l) = -log(1 - l) - l   (Fan, Grama, Liu 2015, lemma 4.1)

and the product over decisions, exp(l S - psi(l) V) with S = sum x and V = sum x^2, is an e-process: the chance that it
ever passes 1/alpha is at most alpha (Ville). There is no approximation and no limit on how small p is. S and V come
from the row: S = sum_w - N, V = sum_w2 - 2 sum_w + N, where N is the number of decisions of the bandit. A mixture over
a grid of l (effects of all sizes) and a mean over arms are e-processes, too (Howard et al. 2021; Lindon & Malek 2022 do
this for fixed shares).

Assumptions and limits:
- The test looks for arms with too much traffic. If one arm gets too little, another gets too much, so every mismatch is
  found, with less power if many arms share the excess. An arm that is often not eligible, new or draining raises no
  alarm by itself.
- Decisions that served another arm than drawn (`fallbacks`) and those without propensity count in N only. This makes
  the test conservative.
- Decisions are assumed to be drawn one by one. With sticky assignment all decisions of a user are one draw. A snapshot
  does not show this, so count users by `exposure_by_user` from the decision log.
- N covers the whole epoch. Rows of old generations and retired arms leave the snapshot. Then pass `decisions`. Without
  it there is no verdict if an earlier generation's row is missing. A retired arm's missing row may go unnoticed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["ALARM", "bandit_e_value", "e_values", "exposure_by_user", "gaps"]

ALARM = 1_000.0
"""An e-value from here on is a mismatch: a healthy bandit ever gets there with a chance of at most 1 in 1,000."""

# An excess of d x p at propensity p is found fastest by l = d p / (1 - p): 1/2 down to 1% of an arm with p = 0.001.
_GRID = tuple(2.0**-step for step in range(1, 18))


def e_values(rows: Sequence[Mapping[str, Any]], decisions: int | None = None) -> dict[str, float]:
    """Compute an e-value per arm, over all generations of the arm.

    Args:
        rows: Rows of one bandit's snapshot. Only those of `*` are used.
        decisions: Counted decisions and fallbacks of the epoch, if there are more than the rows hold.

    Returns:
        E-value by arm, inf beyond float64. Empty with fewer than two arms, without decisions, or if an earlier
        generation's row is missing and `decisions` is None.
    """
    rows = [row for row in rows if row["segment"] == "*"]
    if decisions is None:
        if gaps(rows):
            return {}
        decisions = sum(row["n"] + row["fallbacks"] for row in rows)
    arms = sorted({row["arm_id"] for row in rows})
    if len(arms) < 2 or not decisions:
        return {}
    return {arm: _e_value([row["ipw"] for row in rows if row["arm_id"] == arm], decisions) for arm in arms}


def bandit_e_value(rows: Sequence[Mapping[str, Any]], decisions: int | None = None) -> float | None:
    """Return the mean of `e_values`, which is an e-value itself.

    Args:
        rows: As in `e_values`.
        decisions: As in `e_values`.

    Returns:
        The mean. From ALARM on it is a mismatch. None if there are no e-values.
    """
    values = e_values(rows, decisions)
    return math.fsum(values.values()) / len(values) if values else None


def gaps(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Find earlier generations in `*` without a row. They may have been counted and have left the snapshot.

    While there are any, the rows do not contain all decisions of the epoch.

    Args:
        rows: Rows of one bandit's snapshot.

    Returns:
        Sorted (arm_id, generation).
    """
    here: dict[str, set[int]] = {}
    for row in rows:
        if row["segment"] == "*":
            here.setdefault(row["arm_id"], set()).add(row["arm_generation"])
    return [(arm, each) for arm in sorted(here) for each in range(1, max(here[arm])) if each not in here[arm]]


def exposure_by_user(decisions: Iterable[Mapping[str, Any]]) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """Build rows for `e_values` that count users: only each user's first decision in the log counts.

    Bots, the holdback share and decisions without user_key are ignored. The served arm does not matter, since the test
    is about the arm that was drawn. All user keys are kept in memory.

    Args:
        decisions: Records in any order that does not depend on the arm. Each needs bandit_id, policy_epoch, user_key,
            arm_id and propensity (that of the user's draw).

    Returns:
        Rows by (bandit_id, policy_epoch).
    """
    seen: set[tuple[str, int, str]] = set()
    counts: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
    for decision in decisions:
        user = decision.get("user_key")
        if user is None or decision.get("bot") or decision.get("holdback"):
            continue
        place = decision["bandit_id"], decision["policy_epoch"]
        if (*place, user) in seen:
            continue
        seen.add((*place, user))
        row = counts.setdefault(place, {}).setdefault(decision["arm_id"], _empty_row(decision["arm_id"]))
        row["n"] += 1
        ipw, p = row["ipw"], decision["propensity"]
        if p > 0:
            ipw["n"] += 1
            ipw["sum_w"] += 1 / p
            ipw["sum_w2"] += 1 / p**2
        else:
            ipw["missing"] += 1
    return {place: [rows[arm] for arm in sorted(rows)] for place, rows in sorted(counts.items())}


def _e_value(weights: Sequence[Mapping[str, float]], decisions: int) -> float:
    sum_w = math.fsum(ipw["sum_w"] for ipw in weights)
    sum_w2 = math.fsum(ipw["sum_w2"] for ipw in weights)
    excess, spread = sum_w - decisions, sum_w2 - 2 * sum_w + decisions
    logs = [rate * excess + (math.log1p(-rate) + rate) * spread for rate in _GRID]
    greatest = max(logs)
    if greatest > 700:
        return math.inf
    return math.exp(greatest) * math.fsum(math.exp(log - greatest) for log in logs) / len(logs)


def _empty_row(arm_id: str) -> dict[str, Any]:
    ipw = {"n": 0, "sum_w": 0.0, "sum_w2": 0.0, "missing": 0}
    return {"segment": "*", "arm_id": arm_id, "arm_generation": 1, "n": 0, "fallbacks": 0, "ipw": ipw}
