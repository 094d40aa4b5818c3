"""A small world for the router's tests: a bandits file, snapshots made by hand, and a log in memory.

`bandits_text` gives a file of one bandit, home_row, with arms cf (the default), vae and new. `snapshot` makes one with
the given n and sum of rewards per arm. `Shelf` holds a snapshot as a SnapshotFollower does.
"""

from __future__ import annotations

import dataclasses
import json

from serving_client.bandits_file import parse_bytes
from serving_client.contracts.bandits import Bandits, config_hash
from serving_client.snapshots.follow import Held
from serving_client.snapshots.snapshot import Row, Snapshot

ARMS = ("cf", "new", "vae")
NOW_US = 1_800_000_000_000_000


def bandits_text(**changes) -> bytes:
    """The bandits file with keys of the bandit added or replaced. A value of None removes a key."""
    bandit = {
        "policy_epoch": 1,
        "default_arm": "cf",
        "arms": {arm: {"generation": 1, "model": arm} for arm in ("cf", "vae", "new")},
        "policy": {"kind": "thompson_beta", "floor": 0.02},
        "attribution": {"window": "30m", "allowed_lateness": "1h"},
        "segments": ["plan"],
        "cold": {"share": 1},
    } | changes
    return json.dumps({"bandits": {"home_row": {k: v for k, v in bandit.items() if v is not None}}}).encode()


def bandits(**changes) -> Bandits:
    return parse_bytes(bandits_text(**changes), "bandits.yaml")


def snapshot(of: Bandits, version=1, segments=("*", "free"), **rows) -> Snapshot:
    """A snapshot of home_row. Each keyword is an arm with (n, sum_r), the same in all segments."""
    bandit = of.bandits["home_row"]
    return Snapshot(
        bandit_id="home_row",
        version=version,
        policy_epoch=bandit.policy_epoch,
        published_at_us=NOW_US,
        watermark_us=NOW_US,
        config_hash=config_hash(bandit),
        rows={
            (segment, arm, bandit.arms[arm].generation): Row(float(n), float(sum_r), float(sum_r))
            for segment in segments
            for arm, (n, sum_r) in rows.items()
        },
    )


@dataclasses.dataclass
class Shelf:
    """Snapshots by bandit, put there by a test."""

    snapshot: Snapshot | None = None
    rung: str = "fresh"

    def held(self, bandit_id: str) -> Held:
        return Held(self.snapshot, self.rung) if self.snapshot else Held(None, "default")


class Log:
    """Lines of decisions and rewards, parsed."""

    def __init__(self) -> None:
        self.decisions: list[dict] = []
        self.rewards: list[dict] = []

    def __call__(self, kind: str, line: bytes) -> bool:
        assert line.endswith(b"\n") and line.count(b"\n") == 1
        {"decisions": self.decisions, "rewards": self.rewards}[kind].append(json.loads(line))
        return True
