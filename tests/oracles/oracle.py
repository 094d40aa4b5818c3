"""What the final snapshots must say of a set of records, by the plain slow formula; the truth that pipelines equal.

    python -m tests.oracles.oracle DIR

reads DIR/bandits.yaml, DIR/decisions/*.jsonl and DIR/rewards/*.jsonl as a bounded run sees them (everything matured,
nothing late but what DIR/late.json names), prints the truth as JSON and says on stderr whether DIR/truth.json agrees.
Records are an unordered multiset: their order, files and duplication cannot matter.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from examples.reward_stream.records import Record, is_decision, is_reward, parse_line, time_us
from tests.oracles.tally import STREAM, Tally

__all__ = ["comparable", "main", "statistics", "statistics_of"]

# What differs between runs over the same records, and what says nothing about records.
_OF_THE_RUN = ("version", "published_at", "watermark", "event_time_lag", "config_hash")


def statistics(
    bandits: Mapping[str, Any],
    decisions: Iterable[Record],
    rewards: Iterable[Record],
    *,
    malformed: int = 0,
    read_at_us: int | None = None,
    late: Collection[str] = (),
) -> dict[str, Any]:
    """The final snapshot of each bandit and of `_stream`, by name, as `comparable` leaves them of a published one.

    bandits: the parsed bandits file. malformed: lines that were no JSON object; records that break the schema are
    counted here. read_at_us: the reading clock, for records without received_at (None: they are never from the future).
    late: decision ids whose decision records came too late, and rewards of these ids too, if no decision was in time.
    """
    tally = Tally(bandits)
    shows = tally.counters[STREAM]
    shows["malformed"] += malformed
    known: dict[str, list[Record]] = {}
    for record in decisions:
        if not is_decision(record):
            shows["malformed"] += 1
            continue
        owner = tally.counters[tally.owner(record["bandit_id"])]
        if tally.is_future(time_us(record["decided_at"]), record.get("received_at"), read_at_us):
            owner["future"] += 1
        elif record["decision_id"] in late:
            owner["late"] += 1
        else:
            known.setdefault(record["decision_id"], []).append(record)
    named: dict[str, list[Record]] = {}
    for record in rewards:
        if not is_reward(record):
            shows["malformed"] += 1
        elif tally.is_future(time_us(record["occurred_at"]), record.get("received_at"), read_at_us):
            shows["future"] += 1
        elif record["decision_id"] in late:
            shows["late"] += 1
        else:
            named.setdefault(record["decision_id"], []).append(record)
    for decision_id, copies in known.items():
        tally.add_decision(copies, named.pop(decision_id, ()))
    for orphans in named.values():
        tally.add_orphans(orphans)
    return tally.documents()


def statistics_of(directory: pathlib.Path) -> dict[str, Any]:
    """The truth of a folder that `generate` wrote."""
    bandits = yaml.safe_load((directory / "bandits.yaml").read_text())
    late = directory / "late.json"
    decisions, no_decisions = _read(sorted((directory / "decisions").glob("*.jsonl")))
    rewards, no_rewards = _read(sorted((directory / "rewards").glob("*.jsonl")))
    return statistics(
        bandits,
        decisions,
        rewards,
        malformed=no_decisions + no_rewards,
        late=frozenset(json.loads(late.read_text())) if late.exists() else (),
    )


def comparable(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """A published snapshot without what `statistics` cannot know; equal to its entry where all is well."""
    return {name: value for name, value in snapshot.items() if name not in _OF_THE_RUN}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns 1 where DIR/truth.json says something else."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracles.oracle", description=__doc__)
    parser.add_argument("directory", type=pathlib.Path, help="a folder that examples.reward_stream.generate wrote")
    directory = parser.parse_args(argv).directory
    truth = statistics_of(directory)
    print(json.dumps(truth, sort_keys=True, indent=1))
    written = directory / "truth.json"
    if not written.exists():
        return 0
    agrees = json.loads(written.read_text()) == truth
    print(f"{written} {'agrees' if agrees else 'DIFFERS'}", file=sys.stderr)
    return 0 if agrees else 1


def _read(paths: Iterable[pathlib.Path]) -> tuple[list[Record], int]:
    """The JSON objects of files of lines, and how many lines are none; blank lines are nothing."""
    records, bad = [], 0
    for line in _lines(paths):
        record = parse_line(line)
        if record is None:
            bad += 1
        else:
            records.append(record)
    return records, bad


def _lines(paths: Iterable[pathlib.Path]) -> Iterator[bytes]:
    for path in paths:
        yield from (line for line in path.read_bytes().split(b"\n") if line.strip())


if __name__ == "__main__":
    sys.exit(main())
