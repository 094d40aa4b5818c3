"""What the reader knows between two steps, and what a checkpoint keeps of it."""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from collections.abc import Mapping

from pipelines.reward_stream.sources.config import SOURCES, SequencerConfig
from pipelines.reward_stream.sources.coverage import Coverage, Key
from pipelines.reward_stream.sources.interface import Log
from pipelines.reward_stream.sources.reports import PartitionState, SourceReport, SourceState
from pipelines.reward_stream.sources.watermarks import Watermarks
from transforms.attribution.rules import Rules
from transforms.dead_letters import DeadLetter

__all__ = ["NumberedBlocks", "SourceProgress"]


@dataclasses.dataclass(frozen=True, slots=True)
class NumberedBlocks:
    """Hold one numbered piece of the input.

    Args:
        seq: Its number.
        blocks: Encoded blocks, by shard.
        report: The source's report where this is a tick.
        holding_us: The holding watermark after it, microseconds.
    """

    seq: int
    blocks: list[bytes]
    report: SourceReport | None
    holding_us: int


@dataclasses.dataclass(slots=True)
class SourceProgress:
    """Hold all that changes while the source is read; a mark encodes it.

    Times are in microseconds, those of the clock end in `_at_us`.

    marks: the watermarks. covered: outcomes that a checkpoint counts. heard_at_us: when the last chunk came. rules: the
    bandits file in force; rules_sent, rules_told: whether blocks and reports have it. late_files: of partitions that
    are forgotten. read_bytes: since the last tick. counters, letters, records_read, lines_bad: since the last report.
    out: steps that are decided and not handed out.
    """

    marks: Watermarks
    coverage: dict[str, Coverage]
    covered: Counter[Key]
    cut_us: int
    rules: bytes
    heard_at_us: int
    ticked_at_us: int
    late_files: int
    files_reread: int = 0
    seq: int = 0
    reported_seq: int = -1
    state_at_us: int | None = None
    rules_sent: bool = True
    rules_told: bool = True
    read_bytes: int = 0
    counters: Counter[Key] = dataclasses.field(default_factory=Counter)
    letters: list[DeadLetter] = dataclasses.field(default_factory=list)
    records_read: int = 0
    lines_bad: int = 0
    out: deque[NumberedBlocks] = dataclasses.field(default_factory=deque)
    ended: bool = False

    @classmethod
    def begin(cls, config: SequencerConfig, started: SourceState, now_us: int) -> SourceProgress:
        """Where a checkpoint left off, or nowhere."""
        return cls(
            marks=Watermarks.begin(
                SOURCES, now_us, started.newest_us, started.idle, started.holding_us, started.maturing_us
            ),
            coverage={source: Coverage.resumed(started.partitions.get(source, {})) for source in SOURCES},
            covered=Counter(started.counters),
            cut_us=started.cut_us,
            rules=config.bandits_data,
            heard_at_us=now_us,
            ticked_at_us=now_us - config.tick_us,
            late_files=started.late_files,
        )

    def pass_over(self, away_us: int) -> None:
        """The clock went on for so long while nobody listened."""
        self.heard_at_us += away_us
        for source in self.marks.heard_us:
            self.marks.heard_us[source] += away_us

    def cover(self, rules: Rules, logs: Mapping[str, Log]) -> None:
        """Move the cut, and what a start from here would read again; forget names that are long gone."""
        self.cut_us = max(self.cut_us, self.marks.holding_us - rules.span_us)
        needed_us = self.cut_us - rules.reach_us
        for source, log in logs.items():
            coverage = self.coverage[source]
            self.covered += coverage.cover(self.cut_us, needed_us)
            for name in list(log.expired()):
                if coverage.is_covered(name):
                    self.late_files += coverage.part(name).all_late
                    coverage.forget(name)
                    log.forget(name)

    def state(self, logs: Mapping[str, Log]) -> SourceState:
        """What a start from here needs."""
        return SourceState(
            cut_us=self.cut_us,
            holding_us=self.marks.holding_us,
            maturing_us=self.marks.maturing_us,
            newest_us=dict(self.marks.newest_us),
            idle=tuple(sorted(self.marks.idle)),
            partitions={source: _partitions(log, self.coverage[source]) for source, log in logs.items()},
            counters=dict(self.covered),
            late_files=self.late_files,
        )

    def report(self, state: SourceState | None, logs: Mapping[str, Log], *, final: bool, stop: bool) -> SourceReport:
        """What the next step, a tick, says of the time since the last one; begins to count anew."""
        report = SourceReport(
            seq=self.seq,
            after=self.reported_seq,
            maturing_us=self.marks.maturing_us,
            newest_us=max(self.marks.newest_us.values()),
            cut_us=self.cut_us,
            state=state,
            counters=dict(self.counters),
            records_read=self.records_read,
            lines_bad=self.lines_bad,
            rules=None if self.rules_told else self.rules,
            dead_letters=tuple(self.letters),
            final=final,
            stop=stop,
            late_files=self.late_files + self._late_files(logs),
            files_reread=self.files_reread,
            files_unreadable=sum(log.unreadable for log in logs.values()),
        )
        self.counters, self.letters, self.records_read, self.lines_bad = Counter(), [], 0, 0
        self.rules_told, self.read_bytes, self.reported_seq = True, 0, self.seq
        return report

    def _late_files(self, logs: Mapping[str, Log]) -> int:
        """Files read to their end all of whose records were late."""
        return sum(
            log.is_read(name) for source, log in logs.items() for name in self.coverage[source].late_partitions()
        )


def _partitions(log: Log, coverage: Coverage) -> dict[str, PartitionState]:
    states = {}
    for name, position in log.positions().items():
        part = coverage.part(name)
        start = position.end if part.start is None else part.start
        states[name] = PartitionState(
            start, position.end, part.late, position.head, position.listed_at_us, part.all_late
        )
    return states
