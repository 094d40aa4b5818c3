"""Add faults to some records of a chunk: copies, conflicting copies, records of the future, broken lines.

A decision that has anything odd about it, or about its rewards, is told to the Tally record by record, as the oracle
would; the rest of the chunk is plain.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from examples.reward_stream.draw import Decisions, Rewards
from examples.reward_stream.records import Record, format_us, time_us
from examples.reward_stream.world import Knobs, Stage
from tests.oracles.tally import STREAM, Tally

__all__ = ["LogChunk", "add_oddities"]

_NO_DECISIONS = ('{"decision_id":"cut sho', "[1,2,3]", '{"decision_id":"unfinished","bandit_id":"home_row"}')
_NO_REWARDS = ('{"event_id":"cut sho', "null", '{"event_id":"e","decision_id":"d","kind":"click"}')
_BAD_DECISIONS: tuple[dict[str, Any], ...] = (
    {"policy_epoch": "1"}, {"propensity": 1.5}, {"decided_at": "yesterday"}, {"decision_id": ""}, {"arm_id": None},
    {"bot": "no"}, {"features": ["x"]},
)  # fmt: skip
_BAD_REWARDS: tuple[dict[str, Any], ...] = (
    {"value": 0.1234567}, {"value": 2e9}, {"occurred_at": "2026-02-30T00:00:00Z"}, {"event_id": "a\nb"}, {"kind": 7},
    {"position": 1.5}, {"value": True},
)  # fmt: skip


@dataclasses.dataclass(eq=False)
class LogChunk:
    """Columns of a chunk with the lines of its records; extra: more lines by source, with their arrival."""

    decisions: Decisions
    rewards: Rewards
    decision_lines: list[str]
    reward_lines: list[str]
    extra_decisions: list[tuple[int, str]]
    extra_rewards: list[tuple[int, str]]
    late: list[str]


def add_oddities(
    rng: np.random.Generator, knobs: Knobs, stages: Sequence[Stage], chunk: LogChunk, tally: Tally, began_us: int
) -> npt.NDArray[np.bool_]:
    """Change and add records, tell the Tally of them; returns which decisions [n] it knows now.

    began_us: when the first chunk began.
    """
    odd = _Odd(rng, chunk, min(stage.config.lateness_us for stage in stages))
    rewards, n, m = chunk.rewards, len(chunk.decision_lines), len(chunk.reward_lines)
    features = np.isin(chunk.decisions.bandit, [at for at, stage in enumerate(stages) if stage.config.features])
    for row in odd.some(n, knobs.zero_propensities):
        odd.change_decision(row, {"propensity": 0})
    for row in np.flatnonzero(features & (rng.random(n) < knobs.odd_features)).tolist():
        odd.spoil_features(row)
    for row in odd.some(n, knobs.duplicate_decisions):
        odd.decision_copies(row).append(odd.repeat(chunk.extra_decisions, row, chunk.decision_lines, chunk.decisions))
    for row in odd.some(n, knobs.conflicting_decisions):
        odd.contradict_decision(row)
    for at in odd.some(m, knobs.duplicate_rewards):
        odd.reward_copies(at).append(odd.repeat(chunk.extra_rewards, at, chunk.reward_lines, rewards))
    for at in odd.some(m, knobs.conflicting_rewards):
        odd.contradict_reward(at)
    order = np.lexsort([rewards.at_us, rewards.decision])
    same = (np.diff(rewards.decision[order]) == 0) & (np.diff(rewards.at_us[order]) == 0)
    for row in np.unique(rewards.decision[order][1:][same]).tolist():
        odd.decision_copies(row)
    for at in odd.some(m, knobs.orphan_rewards):
        odd.orphan(at, tally)
    for row in odd.some(n, knobs.malformed):
        odd.garble(chunk.extra_decisions, row, chunk.decision_lines, chunk.decisions, _NO_DECISIONS, _BAD_DECISIONS)
    for at in odd.some(m, knobs.malformed):
        odd.garble(chunk.extra_rewards, at, chunk.reward_lines, rewards, _NO_REWARDS, _BAD_REWARDS)
    tally.counters[STREAM]["malformed"] += odd.malformed
    odd.add_future(knobs.future, tally)
    odd.add_late(knobs.late, tally, began_us, max(s.config.window_us + s.config.lateness_us for s in stages))
    return odd.tell(tally)


class _Odd:
    """The odd decisions of a chunk while they are being made: by row all their records, and those of their rewards."""

    def __init__(self, rng: np.random.Generator, chunk: LogChunk, lateness_us: int) -> None:
        self.malformed = 0
        self._rng = rng
        self._chunk = chunk
        self._wait_us = min(lateness_us // 4, 10_000_000)  # so that a copy is never late
        self._shift_us = min(lateness_us // 8, 1_000_000)
        self._decisions: dict[int, list[Record]] = {}
        self._rewards: dict[int, list[Record]] = {}

    def some(self, n: int, fraction: float) -> list[int]:
        """Rows to which something happens."""
        rows: list[int] = np.flatnonzero(self._rng.random(n) < fraction).tolist()
        return rows

    def decision_copies(self, row: int) -> list[Record]:
        """All records of a decision; from now on it is odd."""
        if row not in self._decisions:
            self._decisions[row] = [json.loads(self._chunk.decision_lines[row])]
        return self._decisions[row]

    def reward_copies(self, at: int) -> list[Record]:
        """All records of a reward, whose decision is odd from now on."""
        self.decision_copies(int(self._chunk.rewards.decision[at]))
        if at not in self._rewards:
            self._rewards[at] = [json.loads(self._chunk.reward_lines[at])]
        return self._rewards[at]

    def change_decision(self, row: int, fields: Record) -> None:
        """Before there are copies of it."""
        record = self.decision_copies(row)[0]
        record.update(fields)
        self._chunk.decision_lines[row] = _line(record)

    def spoil_features(self, row: int) -> None:
        """None, too few, or those of another schema."""
        record = self.decision_copies(row)[0]
        features, fate = record["features"], int(self._rng.integers(0, 4))
        spoiled: list[Record] = [
            {"features": None}, {"features": features[1:]}, {"feature_schema": "0" * 16}, {"feature_schema": None},
        ]  # fmt: skip
        self.change_decision(row, spoiled[fate])

    def repeat(self, extra: list[tuple[int, str]], row: int, lines: list[str], columns: Decisions | Rewards) -> Record:
        """Write the same bytes once more, somewhat later."""
        extra.append((int(columns.arrival_us[row]) + self._wait(), lines[row]))
        record: Record = json.loads(lines[row])
        return record

    def contradict_decision(self, row: int) -> None:
        """Another decision under the same id: of another's label, at the same time or another."""
        copies, chunk = self.decision_copies(row), self._chunk
        other = json.loads(chunk.decision_lines[int(self._rng.integers(0, len(chunk.decision_lines)))])
        record = {**other, "decision_id": copies[0]["decision_id"], "received_at": copies[0]["received_at"]}
        record["decided_at"] = self._shifted(copies[0]["decided_at"])
        copies.append(record)
        chunk.extra_decisions.append((int(chunk.decisions.arrival_us[row]) + self._wait(), _line(record)))

    def contradict_reward(self, at: int) -> None:
        """Another reward under the same id: another value, and now and then another kind."""
        copies, chunk = self.reward_copies(at), self._chunk
        record = {**copies[0], "value": float(self._rng.integers(-3, 9)) / 4}
        if self._rng.random() < 0.3:
            record["kind"] = str(self._rng.choice(chunk.rewards.kinds))
        record["occurred_at"] = self._shifted(record["occurred_at"])
        copies.append(record)
        chunk.extra_rewards.append((int(chunk.rewards.arrival_us[at]) + self._wait(), _line(record)))

    def orphan(self, at: int, tally: Tally) -> None:
        """Write a reward of a decision that was never logged. One in ten comes twice."""
        record = json.loads(self._chunk.reward_lines[at])
        record["decision_id"] = f"lost-{record['decision_id']}-{record['event_id']}"
        copies = [record] * (2 if self._rng.random() < 0.1 else 1)
        arrival_us = int(self._chunk.rewards.arrival_us[at])
        self._chunk.extra_rewards += [(arrival_us + self._wait(), _line(each)) for each in copies]
        tally.add_orphans(copies)

    def garble(
        self,
        extra: list[tuple[int, str]],
        row: int,
        lines: list[str],
        columns: Decisions | Rewards,
        texts: Sequence[str],
        faults: Sequence[Record],
    ) -> None:
        """Write a line that is not a record."""
        fate = int(self._rng.integers(0, len(texts) + len(faults)))
        broken = {**json.loads(lines[row]), **faults[fate - len(texts)]} if fate >= len(texts) else None
        extra.append((int(columns.arrival_us[row]), texts[fate] if broken is None else _line(broken)))
        self.malformed += 1

    def add_future(self, fraction: float, tally: Tally) -> None:
        """Write records of clocks that run too far ahead."""
        for kind, extra, record, arrival_us in self._drawn(fraction):
            ahead_us = tally.future_us + int(self._rng.integers(1, 3_600_000_000))
            time_name = "decided_at" if kind == "decision" else "occurred_at"
            record |= {"decision_id": f"future-{record['decision_id']}", time_name: format_us(arrival_us + ahead_us)}
            extra.append((arrival_us, _line(record)))
            tally.counters[_owner(tally, record)]["future"] += 1

    def add_late(self, fraction: float, tally: Tally, began_us: int, span_us: int) -> None:
        """Write records that are late by a margin, because readers of several files are not quite in step."""
        for kind, extra, record, arrival_us in self._drawn(fraction):
            then_us = arrival_us - span_us - 60_000_000
            if then_us < began_us:
                continue
            time_name = "decided_at" if kind == "decision" else "occurred_at"
            record |= {"decision_id": f"late-{record['decision_id']}", time_name: format_us(then_us)}
            extra.append((arrival_us, _line(record)))
            self._chunk.late.append(record["decision_id"])
            tally.counters[_owner(tally, record)]["late"] += 1

    def tell(self, tally: Tally) -> npt.NDArray[np.bool_]:
        """Add the odd decisions to the totals."""
        odd = np.zeros(len(self._chunk.decision_lines), np.bool_)
        odd[list(self._decisions)] = True
        rewards: dict[int, list[Record]] = {}
        for at in np.flatnonzero(odd[self._chunk.rewards.decision]).tolist():
            copies = self._rewards.get(at) or [json.loads(self._chunk.reward_lines[at])]
            rewards.setdefault(int(self._chunk.rewards.decision[at]), []).extend(copies)
        for row, records in self._decisions.items():
            tally.add_decision(records, rewards.get(row, ()))
        return odd

    def _drawn(self, fraction: float) -> list[tuple[str, list[tuple[int, str]], Record, int]]:
        """Draw some decisions and rewards as models of others: (kind of record, target list, record, arrival)."""
        chunk = self._chunk
        sources = (
            ("decision", chunk.extra_decisions, chunk.decision_lines, chunk.decisions.arrival_us),
            ("reward", chunk.extra_rewards, chunk.reward_lines, chunk.rewards.arrival_us),
        )
        return [
            (kind, extra, json.loads(lines[row]), int(arrivals[row]))
            for kind, extra, lines, arrivals in sources
            for row in self.some(len(lines), fraction)
        ]

    def _shifted(self, text: str) -> str:
        """Half of all contradictions are about the same moment."""
        if self._rng.random() < 0.5:
            return text
        return format_us(time_us(text) + int(self._rng.integers(-self._shift_us, 1)))

    def _wait(self) -> int:
        return int(self._rng.integers(0, self._wait_us + 1))


def _owner(tally: Tally, record: Record) -> str:
    return tally.owner(record.get("bandit_id", ""))


def _line(record: Record) -> str:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False)
