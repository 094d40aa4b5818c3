"""Globo's news clicks as decisions and rewards, disordered as they were delivered, and the statistics they imply.

A session's first click is the decision (id = session, arm = article mod 5, segment = device group), its later clicks
are rewards. Delivery order is the order of the 72 hourly files, which are by session start while clicks go on for up to
22 days: a click comes up to 556 hours after one of a later time. With allowed_lateness = 30d nothing is late, however
the stream divides its attention between the two logs, so that stream and batch must both give `truth`. Arms were not
drawn; the logged propensity of 1/5 is made up.
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import datetime
import gzip
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["BANDITS", "WINDOW_MS", "Click", "Truth", "differences", "read_clicks", "records", "truth", "write_logs"]

ARMS = 5
WINDOW_MS = 30 * 60 * 1000

BANDITS = """bandits:
  globo:
    policy_epoch: 1
    default_arm: "0"
    arms:
      "0": {generation: 1, model: m}
      "1": {generation: 1, model: m}
      "2": {generation: 1, model: m}
      "3": {generation: 1, model: m}
      "4": {generation: 1, model: m}
    policy: {kind: thompson_beta, floor: 0.02}
    attribution: {window: 30m, allowed_lateness: 30d, aggregate: any, reward_kinds: [click]}
    segments: [device]
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Click:
    """One line of the hourly files."""

    session: str
    article: int
    at_ms: int
    device: str


@dataclasses.dataclass
class Truth:
    """rows: (segment, arm) -> (n, sum_r, clicks inside the window). outcomes of all records."""

    rows: dict[tuple[str, str], tuple[int, int, int]]
    outcomes: dict[str, int]


def read_clicks(path: pathlib.Path) -> Iterator[Click]:
    """The clicks of one hourly file, in its order."""
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            at_ms = int(row["click_timestamp"])
            yield Click(row["session_id"], int(row["click_article_id"]), at_ms, row["click_deviceGroup"])


def records(clicks: Iterable[Click], seen: dict[str, int]) -> Iterator[tuple[str, dict[str, object]]]:
    """("decisions" or "rewards", record) of each click. seen: clicks by session so far, of all files; is changed."""
    for click in clicks:
        number = seen.get(click.session, 0)
        seen[click.session] = number + 1
        if number:
            yield "rewards", {
                "event_id": str(number), "decision_id": click.session, "kind": "click", "value": 1,
                "occurred_at": _time(click.at_ms), "item_id": str(click.article),
            }  # fmt: skip
        else:
            yield "decisions", {
                "decision_id": click.session, "bandit_id": "globo", "policy_epoch": 1, "segment": click.device,
                "arm_id": str(click.article % ARMS), "arm_generation": 1, "propensity": 0.2,
                "decided_at": _time(click.at_ms),
            }  # fmt: skip


def write_logs(files: Iterable[pathlib.Path], folder: pathlib.Path) -> collections.Counter[str]:
    """decisions-HHH.jsonl and rewards-HHH.jsonl per hourly file; returns how many records of each kind."""
    seen: dict[str, int] = {}
    counts: collections.Counter[str] = collections.Counter()
    for number, path in enumerate(sorted(files)):
        lines: dict[str, list[str]] = {"decisions": [], "rewards": []}
        for kind, record in records(read_clicks(path), seen):
            lines[kind].append(json.dumps(record))
        for kind, texts in lines.items():
            counts[kind] += len(texts)
            (folder / f"{kind}-{number:03d}.jsonl").write_text("".join(text + "\n" for text in texts))
    return counts


def truth(clicks: Iterable[Click]) -> Truth:
    """Plain counting. A session's first click is its earliest, so a later one is inside its window or past it."""
    first: dict[str, Click] = {}
    inside: collections.Counter[str] = collections.Counter()
    outcomes: collections.Counter[str] = collections.Counter()
    for click in clicks:
        if click.session not in first:
            first[click.session] = click
            outcomes["counted"] += 1
        elif click.at_ms - first[click.session].at_ms <= WINDOW_MS:
            inside[click.session] += 1
            outcomes["counted"] += 1
        else:
            outcomes["outside_window"] += 1
    rows: dict[tuple[str, str], tuple[int, int, int]] = {}
    for session, click in first.items():
        for segment in ("*", click.device):
            key = segment, str(click.article % ARMS)
            n, sum_r, total = rows.get(key, (0, 0, 0))
            rows[key] = n + 1, sum_r + (inside[session] > 0), total + inside[session]
    return Truth(rows, dict(outcomes))


def differences(snapshot: Mapping[str, Any], expected: Truth) -> list[str]:
    """Where a snapshot says something else than the truth; empty if nowhere."""
    found = {
        (row["segment"], row["arm_id"]): (row["n"], round(row["sum_r"]), row["kinds"].get("click", 0))
        for row in snapshot["arms"]
    }
    outcomes = {outcome: count for outcome, count in snapshot["counters"].items() if count}
    rows = [
        f"{key}: (n, sum_r, clicks) are {found.get(key)}, not {expected.rows.get(key)}"
        for key in sorted({*found, *expected.rows})
        if found.get(key) != expected.rows.get(key)
    ]
    return rows + [f"outcomes are {outcomes}, not {expected.outcomes}"] * (outcomes != expected.outcomes)


def _time(at_ms: int) -> str:
    moment = datetime.datetime.fromtimestamp(at_ms // 1000, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"
