"""Say why each arm of a bandit has its probability."""

from __future__ import annotations

from collections.abc import Collection

from serving_client.contracts.bandits import Arm, Bandit
from serving_client.policies.probabilities import allocate
from serving_client.router.decision import Choice
from serving_client.snapshots.snapshot import Snapshot

__all__ = ["reasons"]

_EQUAL = 1e-9
"""A probability that differs less from a cap or the floor is that cap or floor."""


def reasons(
    bandit: Bandit, snapshot: Snapshot | None, eligible: Collection[str] | None, choice: Choice, *, holdback: bool
) -> dict[str, str]:
    """Return the reason for the probability of each arm, in the order of the bandits file.

    Args:
        bandit: The bandit.
        snapshot: The snapshot in use, or None.
        eligible: Arms that the request allows. None allows all of them.
        choice: The probabilities.
        holdback: Whether the user belongs to the holdback.
    """
    found = {arm_id: _removed(arm, snapshot, eligible) for arm_id, arm in bandit.arms.items()}
    left = [arm_id for arm_id, reason in found.items() if not reason]
    if choice.fallback_reason is not None:
        return found | {choice.arms[0]: "no arm is eligible, so popular items are shown"}
    if holdback or choice.defaulted:
        cause = "the user belongs to the holdback" if holdback else "no usable statistics"
        return found | {arm_id: _certain(arm_id in choice.arms, cause) for arm_id in left}
    allocation = allocate(bandit, snapshot, choice.segment, eligible)
    for arm_id, p in zip(choice.arms, choice.p, strict=True):
        cap = 1.0 if allocation.caps is None else float(allocation.caps[allocation.arms.index(arm_id)])
        found[arm_id] = _shared(bandit, snapshot, bandit.arms[arm_id], p, cap)
    return {arm_id: reason or "ramp: not started" for arm_id, reason in found.items()}


def _removed(arm: Arm, snapshot: Snapshot | None, eligible: Collection[str] | None) -> str:
    """Return why an arm cannot be drawn, or "" if it can be, or if its ramp has not started."""
    if arm.state != "active":
        return arm.state
    if eligible is not None and arm.arm_id not in eligible:
        return "not eligible"
    if snapshot is not None and (arm.arm_id, arm.generation) in snapshot.rolled_back:
        return "rolled back by a guardrail"
    return ""


def _certain(drawn: bool, cause: str) -> str:
    return f"{cause}, so this arm is certain" if drawn else f"{cause}, so another arm is certain"


def _shared(bandit: Bandit, snapshot: Snapshot | None, arm: Arm, p: float, cap: float) -> str:
    if cap < 1 and p > cap + _EQUAL:
        return f"every arm is capped, so this arm exceeds its cap of {cap:g}"
    if cap < 1 and p > cap - _EQUAL:
        if arm.ramp is not None:
            return f"ramp: at most {cap:g}"
        row = None if snapshot is None else snapshot.rows.get(("*", arm.arm_id, arm.generation))
        return f"cold: at most {cap:g} until {bandit.cold.min_n:,} decisions (now {0 if row is None else row.n:,.0f})"
    floor = float(bandit.policy["floor"])
    if floor > 0 and p < floor + _EQUAL:
        return f"floor: at least {floor:g}"
    return f"policy {bandit.policy['kind']}"
