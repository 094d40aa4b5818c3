"""What a scenario is, and the time axes that scenarios share.

A scenario is data: a bandits file, records that are delivered at steps of an axis, and what snapshots and dead letters
must then say. All scenarios of an axis have the same steps, and at each step a bandit `clock` of the axis' own moves
both sources to the same times; so a scenario alone and many scenarios in one job see the same watermarks. `clock` also
has the longest spans (window 20 s, allowed lateness 40 s, max_future 5 s), which are those of all rewards.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from serving_client.contracts.times import format_time, parse_time

START_US = parse_time("2026-01-05T06:59:50Z")
"""Second 0 of all scenarios: a multiple of 10 s, and an hour begins at second 10."""

S = 1_000_000
STREAM = "_stream"
Record = dict[str, Any]
Settled = Mapping[str, Mapping[str, Any]]
"""Snapshots by bandit that were published together."""
Row = tuple[str, str, int]
"""segment, arm, generation."""


def at(second: float) -> str:
    """A time of a scenario as records and snapshots write it."""
    return format_time(START_US + round(second * S))


def bandit(**changes: Any) -> dict[str, Any]:
    """An entry of the bandits file. Keys of `attribution` and of the entry itself may be changed alike."""
    attribution = {
        "window": "20s", "allowed_lateness": "40s", "max_future": "5s", "aggregate": "any", "reward_kinds": ["click"],
    }  # fmt: skip
    inside = {name: value for name, value in changes.items() if name in (*attribution, "denominator")}
    return {
        "policy_epoch": 1,
        "default_arm": "a",
        "arms": {"a": {"generation": 1, "model": "m"}, "b": {"generation": 1, "model": "m"}},
        "policy": {"kind": "epsilon_greedy", "epsilon": 0.1},
        "attribution": attribution | inside,
        **{name: value for name, value in changes.items() if name not in inside},
    }


def decision(bandit_id: str, name: str, second: float, arm: str = "a", **fields: Any) -> Record:
    """A decision with id `bandit_id-name`."""
    return {
        "decision_id": f"{bandit_id}-{name}",
        "bandit_id": bandit_id,
        "policy_epoch": 1,
        "segment": "*",
        "arm_id": arm,
        "arm_generation": 1,
        "propensity": 0.5,
        "decided_at": at(second),
        **fields,
    }


def reward(of: str, event: str, second: float, value: float = 1, kind: str = "click", **fields: Any) -> Record:
    """A reward of the decision with id `of`."""
    return {"event_id": event, "decision_id": of, "kind": kind, "value": value, "occurred_at": at(second), **fields}


def line(record: Record | bytes) -> bytes:
    """A record as it stands in a log, without its end."""
    return record if isinstance(record, bytes) else json.dumps(record).encode()


@dataclasses.dataclass(frozen=True)
class Delivery:
    """Records (or raw lines) that a source delivers at a step of the axis."""

    step: int
    decisions: Sequence[Record | bytes] = ()
    rewards: Sequence[Record | bytes] = ()


@dataclasses.dataclass(frozen=True)
class Says:
    """What a snapshot must say. rows: all of them, by key, and fields of each; counters: all that are not 0."""

    rows: Mapping[Row, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    counters: Mapping[str, int] = dataclasses.field(default_factory=dict)
    watermark_s: float | None = None


@dataclasses.dataclass(frozen=True)
class Scenario:
    """rule: of the specification. bandits: entries of the file by id; changes: those that are other from a step on.

    after: what is published once a step is over. final: the last snapshots; what `_stream` says there is this
    scenario's share. letters: (beginning of the reason, record) of all dead letters.
    """

    name: str
    rule: str
    bandits: Mapping[str, Any]
    deliveries: Sequence[Delivery]
    final: Mapping[str, Says]
    after: Mapping[int, Mapping[str, Says]] = dataclasses.field(default_factory=dict)
    letters: Sequence[tuple[str, Record | bytes]] = ()
    changes: Mapping[int, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class StageMove:
    """pause_s: least time since the step before. decisions, rewards: of `clock`. over: whether it shows in snapshots.

    watermark_s: the maturing one after it.
    """

    pause_s: float
    decisions: Sequence[Record]
    rewards: Sequence[Record]
    watermark_s: float
    over: Callable[[Settled], bool]


@dataclasses.dataclass(frozen=True)
class Axis:
    """settings: flags of the run. stream: outcomes of the clock's own records that `_stream` counts."""

    name: str
    settings: Mapping[str, str]
    steps: Sequence[StageMove]
    stream: Mapping[str, int] = dataclasses.field(default_factory=dict)


def _reaches(watermark_s: float) -> Callable[[Settled], bool]:
    return lambda settled: (settled["clock"]["watermark"] or "") >= at(watermark_s)


def _tick(decided: float | None, rewarded: float | None, pause_s: float = 1.0) -> StageMove:
    """Both sources, or one of them, come to a time; the watermark trails the last one named by 5 s."""
    name = f"{decided:g}" if decided is not None else ""
    decisions = [] if decided is None else [decision("clock", name, decided)]
    rewards = [] if rewarded is None else [reward(f"clock-{rewarded:g}", "tick", rewarded)]
    watermark_s = min(each for each in (decided, rewarded) if each is not None) - 5
    return StageMove(pause_s, decisions, rewards, watermark_s, _reaches(watermark_s))


def _comes_back(over: Callable[[Settled], bool]) -> StageMove:
    """The silent rewards are there again, with an event of second 12; decisions have one that moves nothing."""
    again = reward("clock-10", "again", 12, kind="again")
    return StageMove(
        2.0, [decision("clock", "99", 99)], [again], 95, lambda settled: _pending(settled) == 2 and over(settled)
    )


def _pending(settled: Settled) -> int:
    return sum(row["pending"] for row in settled["clock"]["arms"])


def _is_again(settled: Settled) -> bool:
    return any("again" in row["kinds"] for row in settled["clock"]["arms"])


def _is_late(settled: Settled) -> bool:
    return bool(settled[STREAM]["counters"]["late"])


STEADY = Axis("steady", {}, [_tick(second, second) for second in (10, 25, 45, 65, 100, 135)])
"""Watermarks 5, 20, 40, 60, 95, 130: records of a step are judged by the one before it."""

SILENT = Axis("silent", {"idle_after": "1s"}, [_tick(10, 10), _tick(100, None, 2.0), _comes_back(_is_again)])
"""Rewards fall silent after second 10, so decisions alone mature up to 95; then rewards of second 12 come."""

HELD = Axis(
    "held",
    {"idle_after": "1s", "max_hold": "1s"},
    [_tick(10, 10), _tick(100, None, 2.0), _comes_back(_is_late)],
    {"late": 1},
)
"""The same, but the holding watermark waits for the rewards for 1 s at most."""
