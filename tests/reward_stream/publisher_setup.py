"""What the publisher's tests share: a bandits file, steps and reports by hand, and a destination in memory."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pipelines.reward_stream.destinations.interface import VersionExists
from pipelines.reward_stream.publishing.checkpoint import Checkpoint, CheckpointStore
from pipelines.reward_stream.publishing.publisher import Publisher
from pipelines.reward_stream.publishing.state import PublisherState
from pipelines.reward_stream.publishing.versions import Pace
from pipelines.reward_stream.sources.reports import PartitionState, SourceReport, SourceState
from serving_client.bandits_file import parse_bytes
from serving_client.contracts.bandits import Bandits
from serving_client.snapshots.published import Owner, Published
from transforms.attribution.joining.delta import Delta, FoldResult
from transforms.attribution.rules import Label
from transforms.attribution.statistics.rows import RowSums
from transforms.dead_letters import DeadLetter

SECOND = 1_000_000
T0 = 1_795_500_000 * SECOND
WINDOW = 20 * SECOND


def bandits_bytes(epoch: int = 1, window: str = "20s", max_segments: int = 3, guardrails: str = "[]") -> bytes:
    """A bandit `row` of arms a (default) and b."""
    return f"""
bandits:
  row:
    policy_epoch: {epoch}
    default_arm: a
    arms:
      a: {{generation: 1, model: m}}
      b: {{generation: 1, model: m}}
    policy: {{kind: thompson_beta, floor: 0.02}}
    attribution: {{window: {window}, allowed_lateness: 40s, max_future: 5s}}
    segments: [plan]
    max_segments: {max_segments}
    guardrails: {guardrails}
""".encode()


def bandits(**changes: Any) -> Bandits:
    return parse_bytes(bandits_bytes(**changes), "test")


class Memory:
    """A destination; while `refusing` every write raises. versions: documents by name and number."""

    def __init__(self) -> None:
        self.versions: dict[str, dict[int, bytes]] = {}
        self.pointers: dict[str, int] = {}
        self.owners: dict[str, Owner | None] = {}
        self.refusing = False

    def latest(self, name: str) -> Published | None:
        version = self.pointers.get(name)
        return None if version is None else Published(version, self.versions[name][version], self.owners[name])

    def highest(self, name: str) -> int:
        return max(self.versions.get(name, {}), default=0)

    def create(self, name: str, version: int, data: bytes) -> None:
        if self.refusing:
            raise ConnectionError("no way to the store")
        if version in self.versions.setdefault(name, {}):
            raise VersionExists(name)
        self.versions[name][version] = data

    def point(self, name: str, version: int, sha256: str, owner: Owner | None = None) -> None:
        if self.refusing:
            raise ConnectionError("no way to the store")
        if version >= self.pointers.get(name, 0):
            self.pointers[name], self.owners[name] = version, owner

    def prune(self, name: str, before_us: int) -> int:
        return 0

    def names(self) -> list[str]:
        return sorted(self.pointers)

    def document(self, name: str = "row") -> dict[str, Any]:
        """The last snapshot."""
        found: dict[str, Any] = json.loads(self.versions[name][self.pointers[name]])
        return found

    def documents(self, name: str = "row") -> list[dict[str, Any]]:
        return [json.loads(data) for _, data in sorted(self.versions.get(name, {}).items())]


class Clock:
    def __init__(self) -> None:
        self.now_us = T0

    def __call__(self) -> int:
        return self.now_us


class Letters:
    """Takes dead letters; while `refusing` it raises."""

    def __init__(self) -> None:
        self.kept: list[DeadLetter] = []
        self.refusing = False

    def __call__(self, tick: int, letters: Sequence[DeadLetter]) -> None:
        if self.refusing:
            raise OSError("disk full")
        self.kept += letters


def label(arm: str = "a", segment: str = "free", epoch: int = 1) -> Label:
    return Label("row", epoch, segment, arm, 1)


def sums(n: int, clicks: int = 0, fallbacks: int = 0) -> RowSums:
    row = RowSums(n=n, sum_r=clicks * 10**6, sum_r2=clicks * 10**12, fallbacks=fallbacks)
    row.ipw.n = n
    return row


def step(
    shard: int,
    seq: int,
    rows: dict[Label, RowSums],
    *,
    closed: dict[Label, RowSums] | None = None,
    pending: dict[Label, int] | None = None,
    letters: tuple[DeadLetter, ...] = (),
    at_us: int = T0,
    final: bool = False,
    stop: bool = False,
) -> FoldResult:
    """A shard's answer whose rows were counted at `at_us`."""
    gone = closed or {}
    return FoldResult(
        shard,
        seq,
        Delta(_counted(rows), rows),
        Delta(_counted(gone), gone),
        pending or {},
        dict.fromkeys(rows, at_us),
        dict.fromkeys(rows, at_us),
        dict.fromkeys(gone, at_us),
        dict.fromkeys(gone, at_us),
        letters,
        final=final,
        stop=stop,
    )


def report(seq: int, watermark_us: int = T0, **changes: Any) -> SourceReport:
    cut_us = watermark_us - 65 * SECOND
    state = SourceState(cut_us, watermark_us, watermark_us, partitions={"decisions": {"f": PartitionState(seq, seq)}})
    fields: dict[str, Any] = {"newest_us": watermark_us + 5 * SECOND, "cut_us": cut_us, "state": state}
    return SourceReport(seq, watermark_us, **(fields | changes))


def publisher(
    memory: Memory,
    clock: Clock,
    letters: Letters | None = None,
    *,
    file: Bandits | None = None,
    shards: int = 2,
    store: CheckpointStore | None = None,
    checkpoint: Checkpoint | None = None,
    state: PublisherState | None = None,
    name: str | None = None,
    take_over: bool = False,
) -> Publisher:
    """One that publishes and saves at every tick."""
    pace = Pace(publish_interval_us=0, heartbeat_us=30 * SECOND)
    return Publisher(
        memory, file or bandits(), clock, pace, shards, letters or Letters(), store, checkpoint, state, name,
        take_over=take_over,
    )  # fmt: skip


def without_clock(document: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on when and how often was published."""
    return {
        key: value
        for key, value in document.items()
        if key not in ("version", "published_at", "watermark", "event_time_lag")
    }


def _counted(rows: dict[Label, RowSums]) -> Counter[tuple[str, int, str]]:
    counts: Counter[tuple[str, int, str]] = Counter()
    for key, row in rows.items():
        counts["row", key.policy_epoch, "counted"] += row.n
    return counts
