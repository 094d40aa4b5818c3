"""Hold the reader's state between two polls, and derive what a checkpoint keeps of it."""

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
    """Hold all state that changes while the sources are read. A mark encodes it.

    Times are in microseconds. Times of the clock end in `_at_us`.

    Args:
        marks: The watermarks.
        coverage: What a restart reads again, by source.
        covered: Outcomes that a checkpoint counts.
        cut_us: The cut of the next checkpoint.
        rules: Bytes of the bandits file in force.
        heard_at_us: When the last chunk arrived.
        ticked_at_us: When the last tick was made.
        late_files: Forgotten files whose records were all late.
        files_reread: How often a file was read again as new.
        seq: Number of the next piece.
        reported_seq: Number of the last report, -1 before any.
        state_at_us: When a report last carried a checkpoint's state. None before any.
        rules_sent: Whether blocks carried `rules`.
        rules_told: Whether a report carried `rules`.
        read_bytes: Bytes read since the last tick.
        counters: Outcomes since the last report.
        letters: Dead letters since the last report.
        records_read: Records read since the last report.
        lines_bad: Malformed lines since the last report.
        out: Pieces that are decided but not handed out.
        ended: Whether no further piece will be decided.
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
        """Start from a checkpoint's state, or from the beginning.

        Args:
            config: Settings of the reader.
            started: State of the checkpoint. A default state starts from the beginning.
            now_us: The clock, microseconds.

        Returns:
            The progress.
        """
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
        """Ignore a time in which no reader ran, so that no source becomes idle because of it.

        Args:
            away_us: Length of that time, microseconds.
        """
        self.heard_at_us += away_us
        for source in self.marks.heard_us:
            self.marks.heard_us[source] += away_us

    def cover(self, rules: Rules, logs: Mapping[str, Log]) -> None:
        """Move the cut and drop the chunks that a start from here no longer reads. Forget files that vanished long ago.

        Args:
            rules: The rules of the bandits file in force.
            logs: The log of each source.
        """
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
        """Return the state that a start from here needs."""
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
        """Report what happened since the last tick, and reset the counters.

        Args:
            state: State for a checkpoint. None if no checkpoint is due.
            logs: The log of each source.
            final: Whether the input has ended.
            stop: Whether the run stops with its state saved.

        Returns:
            The report that goes with the next piece, which is a tick.
        """
        report = SourceReport(
            seq=self.seq,
            after=self.reported_seq,
            maturing_us=self.marks.maturing_us,
            newest_us=max(self.marks.newest_us.values()),
            heard_us=dict(self.marks.heard_us),
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
        """Count the files that were read to their end and whose records were all late."""
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
