"""Logs in a folder, a clock that tests move, and what a Sequencer said of them: shared by the tests of the sources."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pipelines.reward_stream.sources.config import SequencerConfig
from pipelines.reward_stream.sources.progress import NumberedBlocks
from pipelines.reward_stream.sources.reports import SourceReport, SourceState
from pipelines.reward_stream.sources.sequencer import Sequencer
from serving_client.contracts.times import format_time, parse_time
from transforms.attribution.block import MARKER, Block, decode

START_US = parse_time("2026-11-24T06:00:00Z")
S = 1_000_000

BANDITS = b"""
bandits:
  home:
    policy_epoch: 1
    default_arm: a
    arms:
      a: {generation: 1, model: a}
      b: {generation: 1, model: b}
    policy: {kind: epsilon_greedy, epsilon: 0.1}
    attribution: {window: 20s, allowed_lateness: 40s, max_future: 5s, aggregate: any, reward_kinds: [click]}
"""
WINDOW_US, LATENESS_US, FUTURE_US = 20 * S, 40 * S, 5 * S
SPAN_US = WINDOW_US + LATENESS_US + FUTURE_US


class Clock:
    """Microseconds since 1970, moved by hand."""

    def __init__(self, now_us: int = START_US + 3_600 * S) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us

    def pass_s(self, seconds: float) -> None:
        self.now_us += round(seconds * S)


def decision(number: int, at_s: float, **fields: Any) -> dict[str, Any]:
    """A decision `at_s` seconds after the start."""
    return {
        "decision_id": f"d{number}",
        "bandit_id": "home",
        "policy_epoch": 1,
        "segment": "free",
        "arm_id": "ab"[number % 2],
        "arm_generation": 1,
        "propensity": 0.5,
        "decided_at": format_time(START_US + round(at_s * S)),
        **fields,
    }


def reward(number: int, at_s: float, **fields: Any) -> dict[str, Any]:
    """A reward for decision `number`."""
    return {
        "event_id": f"e{number}",
        "decision_id": f"d{number}",
        "kind": "click",
        "value": 1,
        "occurred_at": format_time(START_US + round(at_s * S)),
        **fields,
    }


def lines(records: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


@dataclasses.dataclass
class Logs:
    """A folder with decisions/ and rewards/ and the bandits file."""

    folder: pathlib.Path
    files: int = 0

    def __post_init__(self) -> None:
        for name in ("decisions", "rewards"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.bandits = self.folder / "bandits.yaml"
        self.bandits.write_bytes(BANDITS)

    def put(self, source: str, data: bytes, name: str | None = None) -> pathlib.Path:
        """A file by atomic rename, younger than those before."""
        self.files += 1
        path = self.folder / source / (name or f"{self.files:05d}.jsonl")
        unfinished = path.with_name(f".{path.name}")
        unfinished.write_bytes(data)
        os.utime(unfinished, (self.files, self.files))
        unfinished.rename(path)
        return path

    def append(self, path: pathlib.Path, data: bytes) -> None:
        self.files += 1
        with open(path, "ab") as out:
            out.write(data)
        os.utime(path, (self.files, self.files))

    def config(self, **settings: Any) -> SequencerConfig:
        return SequencerConfig(
            state_interval_us=0,
            decisions=f"{self.folder}/decisions/*.jsonl*",
            rewards=f"{self.folder}/rewards/*.jsonl*",
            bandits=str(self.bandits),
            bandits_data=BANDITS,
            **{"shards": 2, "chunk_bytes": 1_000, **settings},
        )


def settle(sequencer: Sequencer) -> list[NumberedBlocks]:
    """Everything there is to say now."""
    said = []
    while (batch := sequencer.poll()) is not None:
        said.append(batch)
    return said


def watch(sequencer: Sequencer, clock: Clock, seconds: float, step_s: float = 0.5) -> list[NumberedBlocks]:
    """What is said while the clock passes some seconds."""
    said = settle(sequencer)
    for _ in range(round(seconds / step_s)):
        clock.pass_s(step_s)
        said += settle(sequencer)
    return said


def blocks(batches: Iterable[NumberedBlocks]) -> list[Block]:
    return [decode(data) for batch in batches for data in batch.blocks]


def reports(batches: Iterable[NumberedBlocks]) -> list[SourceReport]:
    return [batch.report for batch in batches if batch.report is not None]


def emitted(batches: Iterable[NumberedBlocks], *, markers: bool = False) -> Counter[tuple[int, int]]:
    """Records that went on, by (rank, event time); either those before a restart's cut or all others."""
    return Counter(
        (int(rank), int(at_us))
        for block in blocks(batches)
        for rows in (block.decisions, block.rewards)
        for rank, at_us, flags in zip(rows.rank, rows.at_us, rows.flags, strict=True)
        if bool(flags & MARKER) == markers
    )


def counted(batches: Sequence[NumberedBlocks]) -> Counter[tuple[str, int, str]]:
    """All outcomes that the reports name."""
    total: Counter[tuple[str, int, str]] = Counter()
    for report in reports(batches):
        total.update(report.counters)
    return total


def saved(report: SourceReport) -> SourceState:
    """The state of a report as a checkpoint gives it back."""
    return SourceState.from_json(json.loads(json.dumps(report.state.to_json())))
