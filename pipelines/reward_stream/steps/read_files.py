"""Read existing files once, as blocks by shard and reports. This is the bounded counterpart of ReadStream.

No record is late and the order does not matter: the join holds all records and counts them at the end. Large files are
read in ranges so that several workers can share a file.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from pipelines.reward_stream.publishing.messages import keyed_message
from pipelines.reward_stream.sources.config import SOURCES, SequencerConfig
from pipelines.reward_stream.sources.intake import read_lines
from pipelines.reward_stream.sources.listing import list_files
from pipelines.reward_stream.sources.reports import SourceReport, SourceState
from pipelines.reward_stream.steps.read_stream import Read
from serving_client.bandits_file import parse_bytes
from serving_client.contracts.times import BEFORE_ALL_US, wall_clock_us
from transforms.attribution.block import encode
from transforms.attribution.parsing.file_ranges import FileRange, range_lines, ranges_of
from transforms.attribution.rules import Rules

__all__ = ["ReadFiles", "ReadRangesFn", "read_range"]

_RangeRead = tuple[list[bytes], tuple[bytes, bytes]]


@dataclasses.dataclass
class ReadFiles(beam.PTransform[Any, Read]):
    """Read the files that the config names now.

    Args:
        config: Settings of the reader.
    """

    config: SequencerConfig

    def expand(self, root: Any) -> Read:
        """List the files and read their ranges."""
        ranges = root | "ListFiles" >> beam.Create(_ranges(self.config), reshuffle=True)
        read = ranges | "ReadRanges" >> beam.ParDo(
            ReadRangesFn(self.config.bandits_data, self.config.shards, self.config.max_disorder_us, wall_clock_us())
        )
        return Read(
            read | "TakeBlocks" >> beam.FlatMap(_blocks).with_output_types(tuple[int, bytes]),
            read | "TakeReports" >> beam.Map(_report).with_output_types(tuple[bytes, bytes]),
        )


class ReadRangesFn(beam.DoFn):
    """Turn FileRanges into their blocks and report. The next range is read while one is parsed.

    Reading from disk, compression and hashing run without the interpreter's lock. Most of parsing holds the lock, so a
    second thread saves little. benchmarks/README.md has the figures.
    """

    _AT_ONCE = 2

    def __init__(self, bandits: bytes, shards: int, max_disorder_us: int, now_us: int) -> None:
        self._bandits = bandits
        self._shards = shards
        self._max_disorder_us = max_disorder_us
        self._now_us = now_us

    def start_bundle(self) -> None:
        """Start the threads."""
        self._pool = ThreadPoolExecutor(self._AT_ONCE, "read-range")
        self._under_way: deque[Future[_RangeRead]] = deque()

    def process(self, part: FileRange) -> Iterator[_RangeRead]:
        """Start reading a range and yield an earlier one once enough are under way."""
        self._under_way.append(self._pool.submit(self._read, part))
        if len(self._under_way) > self._AT_ONCE:
            yield self._under_way.popleft().result()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Yield the remaining ranges and stop the threads."""
        while self._under_way:
            yield WindowedValue(self._under_way.popleft().result(), MIN_TIMESTAMP, (GlobalWindow(),))
        self._pool.shutdown()

    def _read(self, part: FileRange) -> _RangeRead:
        rules = Rules(parse_bytes(self._bandits, "bandits file"))
        blocks, report = read_range(part, rules, self._shards, self._max_disorder_us, self._now_us)
        return blocks, keyed_message(report)


def read_range(
    part: FileRange, rules: Rules, shards: int, max_disorder_us: int, now_us: int
) -> tuple[list[bytes], SourceReport]:
    """Read a range of a file.

    Args:
        part: The range.
        rules: The rules of the bandits file.
        shards: Number of shards.
        max_disorder_us: How far the watermark trails the newest event, microseconds.
        now_us: The clock, microseconds. It replaces a missing received_at.

    Returns:
        Encoded blocks by shard, and the report.

    Raises:
        BadInput: The file cannot be read.
    """
    lines, base = range_lines(part)
    intake = read_lines(part.source, part.name, lines, base, rules, now_us)
    blocks = intake.to_blocks(shards, rules)
    for block in blocks:
        block.seq = -1
    newest_us = intake.newest_us
    report = SourceReport(
        seq=-1,
        maturing_us=max(newest_us - max_disorder_us, BEFORE_ALL_US),
        newest_us=newest_us,
        cut_us=BEFORE_ALL_US,
        state=SourceState(),
        counters=dict(intake.counts),
        records_read=intake.records_read,
        lines_bad=sum(count for (_, _, outcome), count in intake.counts.items() if outcome == "malformed"),
        dead_letters=tuple(intake.letters),
    )
    return [encode(block) if len(block) else b"" for block in blocks], report


def _ranges(config: SequencerConfig) -> list[FileRange]:
    """List all ranges, with the files sorted by name."""
    ranges = []
    for source in SOURCES:
        sizes = {name: listed.size for name, listed in list_files(config.pattern(source)).items()}
        ranges += ranges_of(source, sizes, config.range_bytes)
    return ranges


def _blocks(read: _RangeRead) -> Iterator[tuple[int, bytes]]:
    return ((shard, block) for shard, block in enumerate(read[0]) if block)


def _report(read: _RangeRead) -> tuple[bytes, bytes]:
    return read[1]
