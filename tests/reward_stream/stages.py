"""The folder in which scenarios are played, and how what a run has written there is compared with what they say."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from tests.reward_stream.staging import STREAM, Axis, Says, Scenario, at, bandit, line
from transforms.dead_letters import DeadLetter, from_json_line

__all__ = ["Stage", "bandits_file", "check", "lines_of"]

_BESIDE_OUTCOMES = ("conflicting_duplicates", "segments_over_limit")


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
        """The snapshots that were last published together, by bandit: `_stream` is the last of them. Empty before."""
        pointer = self.folder / "snapshots" / STREAM / "LATEST"
        if not pointer.exists():
            return {}
        version = json.loads(pointer.read_bytes())["version"]
        paths = (self.folder / "snapshots").glob(f"*/{version}.json")
        return {path.parent.name: json.loads(path.read_bytes()) for path in paths}

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
