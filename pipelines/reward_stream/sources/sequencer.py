"""Read both sources with one reader, and turn lines into numbered blocks per shard and reports, in input order.

The sequencer sorts out malformed, future and late records. It computes the watermarks and sends them in the blocks, so
the later steps need neither a clock nor timers. After a restart it first reads the open part of the input again,
without the late test and without ticks. Then it goes on.
"""

from __future__ import annotations

import dataclasses
import os
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from pipelines.reward_stream import encoding
from pipelines.reward_stream.sources.config import SOURCES, SequencerConfig
from pipelines.reward_stream.sources.coverage import Coverage
from pipelines.reward_stream.sources.files import FileLog
from pipelines.reward_stream.sources.intake import Intake, read_lines
from pipelines.reward_stream.sources.interface import LineChunk, Log, Position
from pipelines.reward_stream.sources.progress import NumberedBlocks, SourceProgress
from pipelines.reward_stream.sources.reports import SourceReport, SourceState
from pipelines.reward_stream.sources.rules_file import RulesFile
from pipelines.reward_stream.sources.silence import SilenceLog
from serving_client.contracts.times import BEFORE_ALL_US
from transforms.attribution.block import empty_block, encode
from transforms.attribution.rules import Rules

__all__ = ["Mark", "Sequencer"]

# A tick that is due waits while there is more to read, so that it covers what has come; but not for ever.
_OVERDUE = 2


class Mark(NamedTuple):
    """Hold where an engine goes on after it has restored its state.

    Args:
        at_us: The clock when the mark was made, microseconds.
        progress: State of the sequencer, with the blocks that were not handed out.
        positions: Position of each partition, by source and name.
        all_late: `Coverage.all_late` of the same partitions, in the same order, so that no name is stored twice.
    """

    at_us: int
    progress: SourceProgress
    positions: dict[str, dict[str, Position]]
    all_late: dict[str, list[bool | None]]


class Sequencer:
    """Read the sources that the config names.

    Args:
        config: Settings of the reader.
        clock: Returns microseconds since 1970.
        mark: Bytes of `mark`, from which an engine goes on. None starts from the config.

    Raises:
        BanditsError: The bandits file that the run was planned with is invalid.
    """

    def __init__(self, config: SequencerConfig, clock: Callable[[], int], mark: bytes | None = None) -> None:
        self._config = config
        self._clock = clock
        now_us = clock()
        started = config.started or SourceState()
        known = {source: started.partitions.get(source, {}) for source in SOURCES}
        self._late_again = {source: {name: each.late for name, each in known[source].items()} for source in SOURCES}
        positions: dict[str, dict[str, Position]]
        if mark is None:
            self._now = SourceProgress.begin(config, started, now_us)
            positions = {
                source: {
                    name: Position(each.start, each.end, each.head, each.listed_at_us)
                    for name, each in known[source].items()
                }
                for source in SOURCES
            }
        else:
            marked = encoding.decode(mark, Mark)
            self._now, positions = marked.progress, marked.positions
            for source, flags in marked.all_late.items():
                named = zip(positions[source], flags, strict=True)
                self._now.coverage[source].all_late = {name: flag for name, flag in named if flag is not None}
            self._now.pass_over(now_us - marked.at_us)
        self._rules_file = RulesFile(config.bandits, self._now.rules, config.bandits_poll_us, now_us)
        self._silence = SilenceLog(config.idle_after_us)
        self._logs: dict[str, Log] = {
            source: FileLog(
                config.pattern(source),
                clock,
                config.chunk_bytes,
                config.file_horizon_us,
                config.poll_interval_us,
                positions[source],
            )
            for source in SOURCES
        }

    @property
    def ended(self) -> bool:
        """Return whether no further piece will come."""
        return self._now.ended and not self._now.out

    @property
    def holding_us(self) -> int:
        """Return the holding watermark, microseconds."""
        return self._now.marks.holding_us

    def mark(self, ungiven: Iterable[NumberedBlocks] = ()) -> bytes:
        """Encode the state for an engine that keeps state.

        `Sequencer(config, clock, mark)` continues after the last piece.

        Args:
            ungiven: Pieces of `poll` that the engine did not receive. They come first after a restart.

        Returns:
            The encoded mark.
        """
        coverage = {source: Coverage(each.spans) for source, each in self._now.coverage.items()}
        now = dataclasses.replace(self._now, out=deque([*ungiven, *self._now.out]), coverage=coverage)
        positions = {source: dict(log.positions()) for source, log in self._logs.items()}
        all_late = {
            source: [self._now.coverage[source].all_late.get(name) for name in names]
            for source, names in positions.items()
        }
        return encoding.encode(Mark(self._clock(), now, positions, all_late))

    def poll(self) -> NumberedBlocks | None:
        """Return the next piece, None if there is none now."""
        if not self._now.out and not self._now.ended:
            self._go_on()
        return self._now.out.popleft() if self._now.out else None

    def _go_on(self) -> None:
        """Decide the next piece, if there is one."""
        config, now_us = self._config, self._clock()
        if config.stop_file is not None and os.path.exists(config.stop_file):
            self._now.ended = True
            if not self._is_rereading():  # otherwise the checkpoint that was begun from stays the last
                self._tick(now_us, stop=True)
            return
        self._take_rules(self._rules_file.poll(now_us))
        waited_us = now_us - self._now.ticked_at_us
        source, chunk = self._next_chunk()
        if chunk is not None:
            read_bytes = self._now.read_bytes + len(chunk.lines)
            overdue = waited_us >= _OVERDUE * config.tick_us or read_bytes >= config.tick_bytes
            self._read(source, chunk, now_us, tick=overdue)
        elif self._is_rereading():
            return
        elif self._is_final(now_us):
            self._finish(now_us)
        elif waited_us >= config.tick_us or waited_us < 0:
            self._tick(now_us)

    def _is_rereading(self) -> bool:
        return any(log.rereading for log in self._logs.values())

    def _is_final(self, now_us: int) -> bool:
        patience_us = self._config.stop_when_idle_us
        if patience_us is None or now_us - self._now.heard_at_us < patience_us:
            return False
        return all(log.at_end for log in self._logs.values())

    def _next_chunk(self) -> tuple[str, LineChunk | None]:
        """Read from the source whose events are behind, so that no source runs ahead. Re-read chunks come first."""
        newest_us = self._now.marks.newest_us
        for source in sorted(SOURCES, key=lambda each: newest_us[each]):
            log = self._logs[source]
            if self._is_rereading() and not log.rereading:
                continue
            while (chunk := log.next()) is not None:
                if chunk.anew:
                    self._now.covered += self._now.coverage[source].begin_anew(chunk.partition)
                    self._now.files_reread += 1
                if chunk.lines:
                    return source, chunk
        return "", None

    def _read(self, source: str, chunk: LineChunk, now_us: int, *, tick: bool) -> None:
        """Make the piece of a chunk. A tick waits while chunks are read again."""
        now = self._now
        intake = self._judge(source, chunk, now_us)
        greatest_us = max(intake.newest_us, *(each.at_us for each in intake.late), BEFORE_ALL_US)
        records = None if chunk.reread else intake.records_read
        now.coverage[source].note(chunk.partition, chunk.start, greatest_us, intake.counts, intake.late, records)
        now.heard_at_us = now_us
        now.read_bytes += len(chunk.lines)
        if not chunk.reread:
            now.marks.deliver(source, now_us, intake.newest_us)
        self._move_watermarks(now_us)
        if tick and not self._is_rereading():
            self._tick(now_us, intake=intake)
        else:
            self._emit(intake)

    def _judge(self, source: str, chunk: LineChunk, now_us: int) -> Intake:
        """Parse a chunk, take out the records that are dropped, and count them for the next report."""
        now = self._now
        intake = read_lines(source, chunk.partition, chunk.lines, chunk.start, self._rules, now_us)
        if intake.names_unknown(self._rules):
            self._take_rules(self._rules_file.poll(now_us, soon=True))
        if chunk.reread:
            intake.recall(self._late_again[source].get(chunk.partition, ()), now.cut_us)
        else:
            intake.sort_out_late(self._rules, now.marks.holding_us, now.cut_us)
        now.counters.update(intake.counts)
        now.counters.update(each.key for each in intake.late if each.key is not None)
        now.letters += intake.letters
        now.records_read += intake.records_read
        now.lines_bad += sum(count for key, count in intake.counts.items() if key[2] == "malformed")
        return intake

    def _finish(self, now_us: int) -> None:
        """Make the last tick, including lines without a line end.

        The saved state excludes these lines, since they may grow.
        """
        self._now.cover(self._rules, self._logs)
        state = self._now.state(self._logs)
        for source, log in self._logs.items():
            for chunk in log.rest():
                self._emit(self._judge(source, chunk, now_us))
        self._now.ended = True
        self._emit(None, self._now.report(state, self._logs, final=True, stop=False))

    def _tick(self, now_us: int, *, intake: Intake | None = None, stop: bool = False) -> None:
        """Make a piece that the shards answer, with its report."""
        now = self._now
        self._move_watermarks(now_us)
        now.cover(self._rules, self._logs)
        now.ticked_at_us = now_us
        state = None
        if stop or self._is_state_due(now_us):
            state, now.state_at_us = now.state(self._logs), now_us
        self._emit(intake, now.report(state, self._logs, final=False, stop=stop))

    def _is_state_due(self, now_us: int) -> bool:
        interval_us, before_us = self._config.state_interval_us, self._now.state_at_us
        if interval_us is None:
            return False
        return before_us is None or not 0 <= now_us - before_us < interval_us

    def _emit(self, intake: Intake | None, report: SourceReport | None = None) -> None:
        """Append a piece with the next number to the output."""
        now, shards = self._now, self._config.shards
        blocks = (
            [empty_block(now.seq) for _ in range(shards)] if intake is None else intake.to_blocks(shards, self._rules)
        )
        for block in blocks:
            block.seq, block.tick = now.seq, report is not None
            block.final, block.stop = report is not None and report.final, report is not None and report.stop
            block.holding_us, block.maturing_us = now.marks.holding_us, now.marks.maturing_us
            block.rules = None if now.rules_sent else now.rules
        now.out.append(NumberedBlocks(now.seq, [encode(block) for block in blocks], report, now.marks.holding_us))
        now.seq += 1
        now.rules_sent = True

    def _move_watermarks(self, now_us: int) -> None:
        config = self._config
        at_end = [source for source, log in self._logs.items() if log.at_end]
        marks = self._now.marks
        marks.update(now_us, at_end, config.max_disorder_us, config.idle_after_us, config.max_hold_us)
        self._silence.look({source: (now_us - marks.heard_us[source]) * (source in at_end) for source in SOURCES})

    def _take_rules(self, data: bytes | None) -> None:
        if data is not None:
            self._now.rules, self._now.rules_sent, self._now.rules_told = data, False, False

    @property
    def _rules(self) -> Rules:
        return self._rules_file.rules
