"""Bandits and snapshots for the tests of policies."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from serving_client.contracts.bandits import Bandit
from serving_client.contracts.bandits_document import bandits_of
from serving_client.snapshots.snapshot import Row, Snapshot

HOUR_US = 3_600_000_000
START_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z


def bandit(arms: Mapping[str, Mapping[str, Any]], policy: Mapping[str, Any] | None = None, **keys: Any) -> Bandit:
    """A bandit as the bandits file gives it. The first arm is the default. `arms` needs only what differs."""
    entry = {
        "policy_epoch": 1,
        "default_arm": next(iter(arms)),
        "arms": {arm_id: {"generation": 1, "model": arm_id, **arm} for arm_id, arm in arms.items()},
        "policy": dict(policy or {"kind": "thompson_beta"}),
        "attribution": {"window": "30m", "allowed_lateness": "1h"},
        **keys,
    }
    return bandits_of({"bandits": {"home": entry}}, "bandits.yaml").bandits["home"]


def snapshot(
    rows: Mapping[tuple[str, str, int], Row],
    watermark_us: int | None = START_US,
    policy_epoch: int = 1,
    rolled_back: Collection[tuple[str, int]] = (),
) -> Snapshot:
    return Snapshot("home", 1, policy_epoch, START_US, watermark_us, "0" * 64, rows, frozenset(rolled_back))


def row(n: float, sum_r: float, **fields: Any) -> Row:
    """A row of rewards of 0 and 1."""
    return Row(n=n, sum_r=sum_r, sum_r2=sum_r, **fields)
