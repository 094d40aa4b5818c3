"""What is delivered, when: a generated world cut into files that come late, twice, in pieces, or not for a while.

All times of a plan are seconds of event time since the world began. How late a file may come is bounded so that no
record is late by the specification (those of --late apart) and so that rewards outside every window are so in any
order: the truth is that of the delivered records, whatever the order.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
from typing import Any

import numpy as np
import yaml

from examples.reward_stream.generate import write
from examples.reward_stream.records import format_us, is_decision, time_us
from examples.reward_stream.world import Knobs
from tests.oracles.tally import Tally

__all__ = ["CONTRADICTED", "Delivery", "World", "make_world"]

CONTRADICTED = "mail"
"""The bandit with conflicting duplicates: a winner that arrives later may take a decision out of a row."""

# By source, event time. Decisions may come within window + allowed_lateness (50 s and more), less the disorder of the
# generator (17 s) and a margin; rewards so that their decision's state is still there even if they are outside it.
_MOST_LATE_S = {"decisions": 22.0, "rewards": 5.0}
_LATE, _TWICE, _IN_PIECES = 0.08, 0.08, 0.15  # of files
_CONTRADICTIONS = 0.02  # of decisions and rewards of CONTRADICTED
_SHIFT_US = 500_000


@dataclasses.dataclass(frozen=True, slots=True)
class Delivery:
    """Bytes that come at a time under a name ("decisions/part-00000001.jsonl"), whole or at the end of the file."""

    at_s: float
    name: str
    data: bytes
    append: bool = False


@dataclasses.dataclass(frozen=True)
class World:
    """A plan in order. silence: from when to when there are no rewards. counts: of deliveries by what is odd."""

    plan: list[Delivery]
    span_s: float
    silence: tuple[float, float]
    counts: dict[str, int]


def make_world(
    folder: pathlib.Path, decisions: int, rate: float, seed: int, knobs: Knobs, silence_s: float = 25.0
) -> World:
    """Generate a world below `folder` and plan its delivery. rate: events per second of event time.

    folder / "delivered" is where it is to go; bandits.yaml is there, and late.json where some records are late.
    """
    generated = folder / "generated"
    write(generated, decisions, knobs=knobs, seed=seed, rate=rate)
    rng = np.random.default_rng(seed + 1)
    files = {source: _read(generated / source) for source in ("decisions", "rewards")}
    contradictions = _contradict(files, Tally(yaml.safe_load((generated / "bandits.yaml").read_text())), rng)
    span_s = float(max(step for steps in files.values() for step in steps) + 1)
    silence = (0.4 * span_s, 0.4 * span_s + silence_s)
    counts = {"contradictions": contradictions, "late": 0, "twice": 0, "in pieces": 0, "held back": 0}
    plan = []
    for source, steps in files.items():
        quiet = silence if source == "rewards" else (span_s * 9, span_s * 9)
        for step, lines in steps.items():
            plan += _deliver(source, step, b"".join(lines), quiet, counts, rng)
    delivered = folder / "delivered"
    for source in files:
        (delivered / source).mkdir(parents=True)
    for path in (generated / "bandits.yaml", generated / "late.json"):
        if path.exists():
            shutil.copy(path, delivered / path.name)
    return World(sorted(plan, key=lambda each: (each.at_s, each.name)), span_s, silence, counts)


def _read(folder: pathlib.Path) -> dict[int, list[bytes]]:
    """Lines by step of time (a second)."""
    return {
        int(path.stem.removeprefix("part-")): path.read_bytes().splitlines(keepends=True)
        for path in sorted(folder.glob("part-*.jsonl"))
    }


def _deliver(
    source: str, step: int, data: bytes, quiet: tuple[float, float], counts: dict[str, int], rng: np.random.Generator
) -> list[Delivery]:
    """How a file comes. quiet: when this source is silent; what would have come then comes at its end, in order."""
    name, due_s, most_s = f"{source}/part-{step:08d}.jsonl", step + 1.0, _MOST_LATE_S[source]
    if due_s <= quiet[1] and due_s + most_s >= quiet[0]:  # held back long enough without more
        held = due_s >= quiet[0]
        counts["held back"] += held
        return [Delivery(quiet[1] if held else due_s, name, data)]
    fate = rng.random()
    wait_s = rng.uniform(0.2, 1.0) * most_s
    if fate < _LATE:
        counts["late"] += 1
        return [Delivery(due_s + wait_s, name, data)]
    if fate < _LATE + _TWICE:
        counts["twice"] += 1
        copy = f"{source}/again-{step:08d}.jsonl"
        return [Delivery(due_s, name, data), Delivery(due_s + wait_s, copy, data)]
    if fate < _LATE + _TWICE + _IN_PIECES and len(data) > 3:
        counts["in pieces"] += 1
        cuts = sorted(int(each) for each in rng.integers(1, len(data), 2))  # most of them within a line
        times = (due_s, due_s + wait_s / 4, due_s + wait_s / 2)
        parts = (data[: cuts[0]], data[cuts[0] : cuts[1]], data[cuts[1] :])
        return [
            Delivery(at_s, name, part, append=number > 0)
            for number, (at_s, part) in enumerate(zip(times, parts, strict=True))
            if part
        ]
    return [Delivery(due_s, name, data)]


def _contradict(files: dict[str, dict[int, list[bytes]]], tally: Tally, rng: np.random.Generator) -> int:
    """Add records under ids of CONTRADICTED that say something else, up to two steps later; returns how many.

    Decisions with an unknown arm, generation or epoch are left alone: of their copies each is a dead letter.
    """
    chosen: list[tuple[str, int, dict[str, Any]]] = []
    ids = set()
    others = []
    for step, lines in files["decisions"].items():
        for record in _records(lines, f'"bandit_id":"{CONTRADICTED}"'.encode()):
            if not is_decision(record) or not _is_known(record, tally):
                continue
            ids.add(record["decision_id"])
            others.append(record)
            if rng.random() < _CONTRADICTIONS:
                other = {**others[int(rng.integers(0, len(others)))], "decision_id": record["decision_id"]}
                other |= {"received_at": record["received_at"], "decided_at": _earlier(record["decided_at"], rng)}
                chosen.append(("decisions", step, other))
    for step, lines in files["rewards"].items():
        for record in _records(lines, b'"value":'):
            if record["decision_id"] in ids and rng.random() < 3 * _CONTRADICTIONS:
                other = {**record, "value": float(rng.integers(-3, 9)) / 4}
                chosen.append(("rewards", step, {**other, "occurred_at": _earlier(record["occurred_at"], rng)}))
    for source, step, record in chosen:
        steps = files[source]
        later = max(each for each in steps if each <= step + int(rng.integers(0, 3)))
        steps[later].append(json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
    return len(chosen)


def _records(lines: list[bytes], marked: bytes) -> list[dict[str, Any]]:
    """The good records among lines with a mark; records that are late or of the future are left alone."""
    found = []
    for line in lines:
        if marked not in line:
            continue
        try:
            record = json.loads(line)
            time_us(record.get("decided_at") or record["occurred_at"])
        except (ValueError, TypeError, KeyError):
            continue
        if not str(record["decision_id"]).startswith(("late-", "future-", "lost-")):
            found.append(record)
    return found


def _is_known(record: dict[str, Any], tally: Tally) -> bool:
    label = (record["bandit_id"], record["policy_epoch"], record["arm_id"], record["arm_generation"])
    return tally.place(*label) == "counted"


def _earlier(text: str, rng: np.random.Generator) -> str:
    """The same moment, or one a little before."""
    return text if rng.random() < 0.5 else format_us(time_us(text) - int(rng.integers(0, _SHIFT_US)))
