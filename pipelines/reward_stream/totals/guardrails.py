"""Find the arms that must be stopped because a metric is outside its limit with confidence.

A snapshot is read every few seconds. The bounds of `transforms.inference.sequences` hold at every look: the chance that
an arm within its limit is ever stopped by a guardrail is at most its alpha. `fallbacks`, and `reward` with aggregate
any, are 0 or 1 per decision. `kind:NAME` is a count. Other rewards (sum, max, first) have only an asymptotic bound, so
choose `min_n` accordingly.

In a comparison with another arm, each of the two gets half of alpha. Late corrections are treated as if they had been
on time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from serving_client.contracts.bandits import Bandit
from transforms.inference.sequences import Sample, is_outside, lower, upper

__all__ = ["tripped"]


def tripped(bandit: Bandit, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Find the arms to roll back. The default arm is never among them.

    Args:
        bandit: The bandit with its guardrails.
        rows: Rows of the bandit's snapshot. Only undecayed totals of present generations in `*` are used.

    Returns:
        One entry per arm with arm, generation and reason, in the order of the guardrails.
    """
    totals = {row["arm_id"]: row for row in rows if _is_present(bandit, row)}
    found: dict[str, dict[str, Any]] = {}
    for guardrail in bandit.guardrails:
        for arm_id in _watched(bandit, guardrail):
            if arm_id in found or arm_id not in totals:
                continue
            reason = _reason(bandit, guardrail, totals[arm_id], totals.get(guardrail.get("against", arm_id)))
            if reason is not None:
                generation = bandit.arms[arm_id].generation
                found[arm_id] = {"arm": arm_id, "generation": generation, "reason": reason}
    return list(found.values())


def _is_present(bandit: Bandit, row: Mapping[str, Any]) -> bool:
    arm = bandit.arms.get(row["arm_id"])
    return row["segment"] == "*" and arm is not None and row["arm_generation"] == arm.generation


def _watched(bandit: Bandit, guardrail: Mapping[str, Any]) -> Iterator[str]:
    for arm_id, arm in bandit.arms.items():
        named = guardrail["arm"] == arm_id or (guardrail["arm"] == "*" and arm.state == "active")
        if named and arm_id not in (guardrail.get("against"), bandit.default_arm):
            yield arm_id


def _reason(
    bandit: Bandit, guardrail: Mapping[str, Any], row: Mapping[str, Any], other: Mapping[str, Any] | None
) -> str | None:
    """Return why the arm is stopped, None if it is not."""
    metric, alpha, against = guardrail["metric"], guardrail["alpha"], guardrail.get("against")
    sample = _sample(bandit, metric, row)
    upwards = "max" in guardrail
    limit = guardrail["max" if upwards else "min"]
    if other is None or min(row["n"] + row["fallbacks"], other["n"] + other["fallbacks"]) < guardrail["min_n"]:
        return None
    if sample.n == 0:
        return None
    said = f"{metric} {sample.mean:.6g}"
    if against is None:
        outside = is_outside(sample, limit, alpha, upwards=upwards)
    else:
        base = _sample(bandit, metric, other)
        if base.n == 0:
            return None
        said += f", less {against}'s {base.mean:.6g},"
        if upwards:
            outside = lower(sample, alpha / 2) - upper(base, alpha / 2) > limit
        else:
            outside = upper(sample, alpha / 2) - lower(base, alpha / 2) < limit
    if not outside:
        return None
    return f"{said} is {'above' if upwards else 'below'} {limit:g} after {sample.n} decisions (alpha {alpha:g})"


def _sample(bandit: Bandit, metric: str, row: Mapping[str, Any]) -> Sample:
    if metric == "fallbacks":
        return Sample("binary", row["n"] + row["fallbacks"], row["fallbacks"])
    if metric == "reward":
        kind = "binary" if bandit.attribution.aggregate == "any" else "real"
        return Sample(kind, row["n"], row["sum_r"], row["sum_r2"])
    return Sample("count", row["n"], row["kinds"].get(metric.removeprefix("kind:"), 0))
