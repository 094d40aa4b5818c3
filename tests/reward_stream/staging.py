"""What a scenario is, the time axes that scenarios share, and how published versions are compared with one.

A scenario is data: a bandits file, records that are delivered at steps of an axis, and what snapshots and dead letters
must then say. All scenarios of an axis have the same steps, and at each step a bandit `clock` of the axis' own moves
both sources to the same times; so a scenario alone and many scenarios in one job see the same watermarks. `clock` also
has the longest spans (window 20 s, allowed lateness 40 s, max_future 5 s), which are those of all rewards.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import yaml

from serving_client.contracts.times import format_time, parse_time
from transforms.dead_letters import DeadLetter, from_json_line

START_US = parse_time("2026-01-05T06:59:50Z")
"""Second 0 of all scenarios: a multiple of 10 s, and an hour begins at second 10."""

S = 1_000_000
STREAM = "_stream"
Record = dict[str, Any]
Settled = Mapping[str, Mapping[str, Any]]
"""Snapshots by bandit that were published together."""
Row = tuple[str, str, int]
"""segment, arm, generation."""

_BESIDE_OUTCOMES = ("conflicting_duplicates", "segments_over_limit")


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
class Step:
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
    steps: Sequence[Step]
    stream: Mapping[str, int] = dataclasses.field(default_factory=dict)


def _reaches(watermark_s: float) -> Callable[[Settled], bool]:
    return lambda settled: (settled["clock"]["watermark"] or "") >= at(watermark_s)


def _tick(decided: float | None, rewarded: float | None, pause_s: float = 1.0) -> Step:
    """Both sources, or one of them, come to a time; the watermark trails the last one named by 5 s."""
    name = f"{decided:g}" if decided is not None else ""
    decisions = [] if decided is None else [decision("clock", name, decided)]
    rewards = [] if rewarded is None else [reward(f"clock-{rewarded:g}", "tick", rewarded)]
    watermark_s = min(each for each in (decided, rewarded) if each is not None) - 5
    return Step(pause_s, decisions, rewards, watermark_s, _reaches(watermark_s))


def _comes_back(over: Callable[[Settled], bool]) -> Step:
    """The silent rewards are there again, with an event of second 12."""
    return Step(2.0, [], [reward("clock-10", "again", 12, kind="again")], 95, over)


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


def bandits_file(scenarios: Iterable[Scenario], step: int) -> bytes:
    """The bandits file of several scenarios as it is at a step."""
    entries: dict[str, Any] = {"clock": bandit()}
    for scenario in scenarios:
        entries |= scenario.bandits
        for changed_at, changes in sorted(scenario.changes.items()):
            if changed_at <= step:
                entries |= changes
    return yaml.safe_dump({"bandits": entries}).encode()


def lines_of(axis: Axis, scenarios: Iterable[Scenario], step: int) -> dict[str, list[bytes]]:
    """What each source delivers at a step, the clock last."""
    listed = [each for scenario in scenarios for each in scenario.deliveries if each.step == step]
    ticks = axis.steps[step]
    return {
        "decisions": [line(record) for each in listed for record in each.decisions] + [*map(line, ticks.decisions)],
        "rewards": [line(record) for each in listed for record in each.rewards] + [*map(line, ticks.rewards)],
    }


@dataclasses.dataclass
class Stage:
    """A folder with the logs, the bandits file, and what a run publishes."""

    folder: pathlib.Path
    lines: int = 0

    def __post_init__(self) -> None:
        for name in ("decisions", "rewards", "letters", "snapshots"):
            (self.folder / name).mkdir(parents=True)
        self.bandits = self.folder / "bandits.yaml"

    def write(self, path: pathlib.Path, data: bytes) -> None:
        """A file by rename."""
        unfinished = path.with_name(f".{path.name}")
        unfinished.write_bytes(data)
        os.replace(unfinished, path)

    def deliver(self, step: int, lines: Mapping[str, Sequence[bytes]]) -> None:
        """One file per source that has something."""
        for source, each in lines.items():
            if each:
                self.lines += len(each)
                self.write(self.folder / source / f"{step:03d}.jsonl", b"\n".join([*each, b""]))

    def latest(self) -> dict[str, dict[str, Any]]:
        """The snapshots that LATEST names, by bandit; empty before the first."""
        found = {}
        for pointer in (self.folder / "snapshots").glob("*/LATEST"):
            version = json.loads(pointer.read_bytes())["version"]
            found[pointer.parent.name] = json.loads(pointer.with_name(f"{version}.json").read_bytes())
        return found

    def settled(self) -> list[dict[str, dict[str, Any]]]:
        """All versions, oldest first: with --publish_interval=0s --heartbeat=0s one number was published together."""
        found: dict[int, dict[str, dict[str, Any]]] = {}
        for path in (self.folder / "snapshots").glob("*/*.json"):
            found.setdefault(int(path.stem), {})[path.parent.name] = json.loads(path.read_bytes())
        return [found[version] for version in sorted(found)]

    def letters(self) -> list[DeadLetter]:
        texts = [path.read_text() for path in (self.folder / "letters").glob("*.jsonl")]
        return [from_json_line(text) for each in texts for text in each.splitlines()]


def check(stage: Stage, axis: Axis, scenarios: Sequence[Scenario]) -> None:
    """Compare everything a run has written with what its scenarios say."""
    versions = stage.settled()
    place = 0
    for number, step in enumerate(axis.steps):
        place = next(n for n in range(place, len(versions)) if step.over(versions[n]))
        assert versions[place]["clock"]["watermark"] == at(step.watermark_s), number
        for scenario in scenarios:
            for name, says in scenario.after.get(number, {}).items():
                if name != STREAM or len(scenarios) == 1:
                    _compare(versions[place][name], says, f"{scenario.name}, after step {number}: {name}")
    last = versions[-1]
    shares = Counter(axis.stream)
    for scenario in scenarios:
        for name, says in scenario.final.items():
            if name == STREAM:
                shares.update(says.counters)
            else:
                _compare(last[name], says, f"{scenario.name}: {name}")
                assert last[name]["final"]
    assert _counters(last[STREAM]) == shares
    assert all(row["pending"] == 0 for snapshot in last.values() for row in snapshot.get("arms", ()))
    outcomes = sum((Counter(_counters(snapshot)) for snapshot in last.values()), Counter())
    assert sum(count for name, count in outcomes.items() if name not in _BESIDE_OUTCOMES) == stage.lines
    _check_letters(stage, axis, scenarios)


def _compare(snapshot: Mapping[str, Any], says: Says, where: str) -> None:
    rows = {(row["segment"], row["arm_id"], row["arm_generation"]): row for row in snapshot.get("arms", ())}
    shown = {key: {name: rows[key][name] for name in says.rows.get(key, ())} for key in rows}
    assert shown == says.rows, where
    assert _counters(snapshot) == says.counters, where
    assert says.watermark_s is None or snapshot["watermark"] == at(says.watermark_s), where


def _counters(snapshot: Mapping[str, Any]) -> dict[str, int]:
    return {name: count for name, count in snapshot["counters"].items() if count}


def _check_letters(stage: Stage, axis: Axis, scenarios: Sequence[Scenario]) -> None:
    """Each record once, with its reason, and its bytes at the place that the letter names."""
    wanted = sorted((line(record), reason) for scenario in scenarios for reason, record in scenario.letters)
    own = {line(record) for step in axis.steps for record in (*step.decisions, *step.rewards)}
    found = sorted((letter.original, letter.reason) for letter in stage.letters() if letter.original not in own)
    assert [original for original, _ in found] == [original for original, _ in wanted]
    assert all(said.startswith(reason) for (_, said), (_, reason) in zip(found, wanted, strict=True))
    for letter in stage.letters():
        content = pathlib.Path(letter.source).read_bytes()
        assert content[letter.position :].startswith(letter.original)
