"""Blocks of made-up records for the tests of the join, and the sum of what steps say."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from serving_client.contracts.bandits import Arm, Attribution, Bandit, Bandits
from transforms.attribution.block import Block, Decisions, Rewards, empty_block
from transforms.attribution.joining.delta import Delta
from transforms.attribution.rules import HOLDBACK, Label, Rules
from transforms.attribution.statistics.rows import RowSums

S = 1_000_000
START_US = 1_700_000_000 * S
WINDOW_US, LATENESS_US, FUTURE_US = 20 * S, 40 * S, 5 * S


@dataclasses.dataclass(frozen=True)
class Decision:
    id: int
    at: int
    rank: int
    label: Label
    flags: int = 0
    propensity: float = 0.5


@dataclasses.dataclass(frozen=True)
class Reward:
    id: int
    event: int
    at: int
    rank: int
    kind: str = "click"
    value: int = S
    flags: int = 0


def rules(aggregate: str = "any", denominator: str = "decisions", epoch: int = 1, arms: str = "ab") -> Rules:
    bandit = Bandit(
        "b",
        epoch,
        "a",
        {arm: Arm(arm, 2, arm) for arm in arms},
        {"kind": "thompson_gaussian"},
        Attribution(WINDOW_US, LATENESS_US, FUTURE_US, aggregate, denominator, ("click",)),
        half_lives={"1h": 3600 * S, "1m": 60 * S},
        segments=("plan",),
    )
    return Rules(Bandits({"b": bandit}))


def label(arm: str = "a", segment: str = "x", generation: int = 2, epoch: int = 1) -> Label:
    return Label("b", epoch, segment, arm, generation)


def block(decisions: Sequence[Decision], rewards: Sequence[Reward]) -> Block:
    """One block with these records, in this order."""
    made = empty_block(0)
    if decisions:
        made.labels = sorted({each.label for each in decisions})
        hashes = np.array([each.id for each in decisions], np.uint64)
        made.decisions = Decisions(
            hashes,
            hashes ^ np.uint64(1),
            np.array([each.at for each in decisions], np.int64),
            np.array([each.rank for each in decisions], np.uint64),
            np.array([made.labels.index(each.label) for each in decisions], np.int32),
            np.array([each.flags for each in decisions], np.uint8),
            np.array([each.propensity for each in decisions], np.float64),
            None,
            {at: ("decisions", each.id, b"decision") for at, each in enumerate(decisions)},
        )
    if rewards:
        n = len(rewards)
        made.kinds, made.sources = sorted({each.kind for each in rewards}), ["rewards"]
        hashes = np.array([each.id for each in rewards], np.uint64)
        made.rewards = Rewards(
            hashes,
            hashes ^ np.uint64(1),
            np.array([each.event for each in rewards], np.uint64),
            np.array([each.at for each in rewards], np.int64),
            np.array([each.rank for each in rewards], np.uint64),
            np.array([made.kinds.index(each.kind) for each in rewards], np.int32),
            np.array([each.value for each in rewards], np.int64),
            np.array([each.flags for each in rewards], np.uint8),
            [f"e{each.event}" for each in rewards],
            np.zeros(n, np.int32),
            np.array([each.event for each in rewards], np.int64),
            [b"reward"] * n,
        )
    return made


def world(rng: random.Random, ids: int = 120) -> tuple[list[Decision], list[Reward]]:
    """Decisions over 100 s with all the faults of the specification, and rewards of every kind and delay."""
    decisions: list[Decision] = []
    rewards: list[Reward] = []
    for _ in range(ids):
        row = Label(
            "b",
            rng.choice([1, 1, 1, 1, 0, 2]),
            rng.choice(["x", "x", "y", HOLDBACK]),
            rng.choice("aabbz"),
            rng.choice([1, 2, 3]),
        )
        one = Decision(
            rng.getrandbits(60),
            START_US + rng.randrange(100 * S),
            rng.getrandbits(50),
            row,
            rng.choice([0] * 8 + [1, 2]),
            rng.choice([0.5, 0.3, 0.1, 0.0]),
        )
        if rng.random() < 0.9:
            decisions.append(one)
        if rng.random() < 0.1:
            decisions.append(one)
        if rng.random() < 0.05:
            other = row._replace(arm_id="a")
            later = one.at + rng.choice([0, 1, 3 * S])
            decisions.append(dataclasses.replace(one, rank=rng.getrandbits(50), at=later, label=other))
        for _ in range(rng.choice([0, 0, 1, 2, 3])):
            reward = Reward(
                one.id,
                rng.getrandbits(3),
                one.at + rng.randrange(-8 * S, 30 * S),
                rng.getrandbits(50),
                rng.choice(["click", "impression", "view"]),
                rng.choice([0, S, -3 * S, 123_456]),
            )
            rewards.append(reward)
            if rng.random() < 0.2:
                rewards.append(reward)
            if rng.random() < 0.1:
                later = reward.at + rng.choice([0, S])
                rewards.append(dataclasses.replace(reward, rank=rng.getrandbits(50), value=7, at=later))
    return decisions, rewards


def arrivals(
    rng: random.Random, decisions: Sequence[Decision], rewards: Sequence[Reward]
) -> list[tuple[int, Decision | Reward]]:
    """(when, record) in order of arrival, none so late that it would not count."""
    timed: list[tuple[int, Decision | Reward]] = [(each.at + rng.randrange(5 * S), each) for each in decisions]
    timed += [(each.at + rng.randrange(25 * S), each) for each in rewards]
    return sorted(timed, key=_when)


def both(records: Iterable[Decision | Reward]) -> tuple[list[Decision], list[Reward]]:
    """Decisions and rewards apart."""
    listed = list(records)
    return [r for r in listed if isinstance(r, Decision)], [r for r in listed if isinstance(r, Reward)]


def total(deltas: Iterable[Delta]) -> tuple[dict[Any, int], dict[Label, dict[str, Any]]]:
    """Counters and rows of all deltas together, without what came to nothing."""
    counters: Counter[Any] = Counter()
    rows: dict[Label, RowSums] = {}
    for delta in deltas:
        for key, count in delta.counters.items():
            counters[key] += count
        for row, sums in delta.rows.items():
            rows.setdefault(row, RowSums()).add(sums)
    return (
        {key: count for key, count in counters.items() if count},
        {row: sums.to_state() for row, sums in rows.items() if not sums.is_zero()},
    )


def beyond_arrival(counters: dict[Any, int]) -> dict[str, int]:
    """Counters as far as arrival cannot decide them: rewards outside every window may be orphans or outside."""
    sums: Counter[str] = Counter()
    for (_, _, outcome), count in counters.items():
        kept = outcome in ("counted", "ignored_kind", "duplicate", "conflicting_duplicates")
        sums[outcome if kept else "other"] += count
    return dict(sums)


def _when(timed: tuple[int, object]) -> int:
    return timed[0]
