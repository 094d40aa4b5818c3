"""The same join written the plain way: an element per event, a dictionary per decision, in keyed state or grouped.

With state each decision has a dictionary and a timer at the end of the bounded input; grouped, a GroupByKey brings the
records of a decision together, which no stream could wait for but is the fastest a bounded run with elements can do. It
reads the same lines, keeps the smallest (time, rank) of each id, joins when the bounded input ends, and gives n and
sum_r by segment, arm and generation, enough to check that both programs did the same work. Nothing is left out of the
join that would make it faster than ours; decay, hours, inverse propensities and snapshots are.
"""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.coders import PickleCoder
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.transforms.window import GlobalWindow

from serving_client.contracts.bandits import Bandit
from serving_client.contracts.times import parse_time
from transforms.attribution.rules import HOLDBACK

__all__ = ["run"]

Row = tuple[tuple[str, str, int], tuple[int, int]]


def run(decisions: str, rewards: str, bandit: Bandit, *, grouped: bool) -> dict[tuple[str, str, int], tuple[int, int]]:
    """(n, sum of rewards) by (segment, arm, generation), `*` left out."""
    found: dict[tuple[str, str, int], tuple[int, int]] = {}
    with beam.Pipeline(FnApiRunner()) as root:
        events = (
            root
            | "ListFiles" >> beam.Create(sorted(glob.glob(decisions)) + sorted(glob.glob(rewards)))
            | "ReadLines" >> beam.FlatMap(_lines)
            | "Parse" >> beam.Map(_parse).with_output_types(tuple[str, tuple[int, bytes, dict[str, Any]]])
        )
        if grouped:
            records = events | "Group" >> beam.GroupByKey() | "Records" >> beam.Values()
            joined = records | "Join" >> beam.FlatMap(_join_group, bandit).with_output_types(tuple[Any, Any])
        else:
            joined = events | "Join" >> beam.ParDo(_JoinFn(bandit)).with_output_types(tuple[Any, Any])
        sums = joined | "Sum" >> beam.CombinePerKey(_sum_pairs)
        _ = sums | "Collect" >> beam.combiners.ToList() | "Keep" >> beam.Map(_keep)
    found.update(_KEPT.pop())
    return found


_KEPT: list[list[Row]] = []


def _keep(rows: list[Row]) -> None:
    _KEPT.append(rows)


def _lines(name: str) -> Iterator[bytes]:
    with open(name, "rb") as file:
        yield from file


def _parse(line: bytes) -> tuple[str, tuple[int, bytes, dict[str, Any]]]:
    record = json.loads(line)
    canonical = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    rank = hashlib.sha256(canonical).digest()[:8]
    return record["decision_id"], (parse_time(record.get("decided_at") or record["occurred_at"]), rank, record)


def _sum_pairs(pairs: Any) -> tuple[int, int]:
    n = total = 0
    for one, two in pairs:
        n, total = n + one, total + two
    return n, total


def _keep_smallest(known: dict[str, Any], event: tuple[int, bytes, dict[str, Any]]) -> bool:
    at_us, rank, record = event
    name = record.get("event_id", "")
    if name in known and (at_us, rank) >= known[name][:2]:
        return False
    known[name] = event
    return True


def _join_group(events: Any, bandit: Bandit) -> Iterator[Row]:
    known: dict[str, Any] = {}
    for event in events:
        _keep_smallest(known, event)
    yield from _worth(known, bandit)


def _worth(known: dict[str, Any], bandit: Bandit) -> Iterator[Row]:
    """The row of a decision and what it adds: 1 and whether a reward was won; nothing where it does not count."""
    if "" not in known:
        return
    decided_us, _, decision = known.pop("")
    arm = bandit.arms.get(decision["arm_id"])
    if (decision["bandit_id"], decision["policy_epoch"]) != (bandit.bandit_id, bandit.policy_epoch):
        return
    if arm is None or decision["arm_generation"] > arm.generation or decision.get("bot"):
        return
    if decision.get("served_by", decision["arm_id"]) != decision["arm_id"]:
        return
    rules = bandit.attribution
    won = any(
        decided_us - rules.max_future_us <= at_us <= decided_us + rules.window_us
        and reward["kind"] in rules.reward_kinds
        and reward["value"] > 0
        for at_us, _, reward in known.values()
    )
    segment = HOLDBACK if decision.get("holdback") else decision["segment"]
    yield (segment, decision["arm_id"], decision["arm_generation"]), (1, int(won))


class _JoinFn(beam.DoFn):
    ENTRY = ReadModifyWriteStateSpec("entry", PickleCoder())
    END = TimerSpec("end", TimeDomain.WATERMARK)

    def __init__(self, bandit: Bandit) -> None:
        self._bandit = bandit

    def process(
        self,
        keyed: tuple[str, tuple[int, bytes, dict[str, Any]]],
        entry: Any = beam.DoFn.StateParam(ENTRY),
        end: Any = beam.DoFn.TimerParam(END),
    ) -> None:
        known = entry.read() or {}
        if _keep_smallest(known, keyed[1]):
            entry.write(known)
        end.set(GlobalWindow().max_timestamp())

    @on_timer(END)
    def end(self, entry: Any = beam.DoFn.StateParam(ENTRY)) -> Iterator[Row]:
        known = entry.read()
        entry.clear()
        yield from _worth(known, self._bandit)
