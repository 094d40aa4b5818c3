"""Count log files line by line, as the rules of events.md say, and compare with published statistics."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from benchmarks.loop.world import ARMS, World
from benchmarks.rewards.worlds import latest
from serving_client.contracts.times import parse_time

__all__ = ["Recount", "differences", "recount"]

Key = tuple[str, str]  # bandit and arm


class Recount(NamedTuple):
    """What the log files hold.

    Args:
        decisions: Bandit, arm and time of each decision, microseconds, by id.
        clicked: Ids of decisions with a click inside the window.
        rewards: Number of rewards.
    """

    decisions: Mapping[str, tuple[str, str, int]]
    clicked: frozenset[str]
    rewards: int


def recount(world: World, logs: Path) -> Recount:
    """Read all log files of a folder."""
    decisions = {
        line["decision_id"]: (line["bandit_id"], line["arm_id"], parse_time(line["decided_at"]))
        for line in _lines(logs.glob("decisions-*.jsonl"))
    }
    clicked, rewards = set(), 0
    for line in _lines(logs.glob("rewards-*.jsonl")):
        rewards += 1
        if parse_time(line["occurred_at"]) <= decisions[line["decision_id"]][2] + world.window_us:
            clicked.add(line["decision_id"])
    return Recount(decisions, frozenset(clicked), rewards)


def differences(world: World, counted: Recount, snapshots: Path) -> list[str]:
    """Return in what the last snapshots differ from the recount at their watermarks."""
    published = {name: latest(snapshots, name) for name in world.names}
    watermarks_us = {name: parse_time(each["watermark"]) for name, each in published.items()}
    expected: dict[str, collections.Counter[Key]] = {key: collections.Counter() for key in ("n", "sum_r", "pending")}
    for decision_id, (name, arm_id, decided_us) in counted.decisions.items():
        matured = decided_us + world.window_us <= watermarks_us[name]
        expected["n" if matured else "pending"][name, arm_id] += 1
        expected["sum_r"][name, arm_id] += matured and decision_id in counted.clicked
    found = []
    for name, each in published.items():
        rows = {row["arm_id"]: row for row in each["arms"]}
        for arm_id in ARMS:
            for key, counts in expected.items():
                ours, theirs = counts[name, arm_id], rows.get(arm_id, {}).get(key, 0)
                if ours != theirs:
                    found.append(f"{name}.{arm_id}.{key} is {theirs:g}, and the logs say {ours}")
    return found


def _lines(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for path in sorted(paths):
        with path.open("rb") as file:
            yield from map(orjson.loads, file)
