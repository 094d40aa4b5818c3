"""Track what a restart must read again: per partition, the chunks with events that still count.

A checkpoint covers a chunk when none of the chunk's events can matter any more. From then on the checkpoint stores the
outcomes that the reader gave to the chunk's records (malformed, future, late). Until then a restart reads the chunk
again and finds these outcomes again.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pipelines.reward_stream.sources.reports import PartitionState

__all__ = ["Coverage", "Key", "Late", "Part", "Span"]

Key = tuple[str, int, str]
"""(bandit, policy_epoch, outcome); ("", 0, outcome) where the record names no bandit."""


class Late(NamedTuple):
    """Hold the place of a late record.

    Args:
        position: Position of the record in its partition.
        at_us: Event time, microseconds.
        key: Counter of the record. None if a checkpoint counts the record already.
    """

    position: int
    at_us: int
    key: Key | None


class Part(NamedTuple):
    """Hold the coverage fields of a PartitionState.

    Args:
        start: Position of the first chunk to read again. None if everything read so far is covered.
        late: Positions of late records in chunks that are read again.
        all_late: Whether every record so far was late.
    """

    start: int | None
    late: tuple[int, ...]
    all_late: bool


class Span(NamedTuple):
    """Hold one chunk. It is a tuple because marks hold many of them.

    Args:
        start: Position of the chunk.
        greatest_us: Greatest usable event time in the chunk, microseconds.
        counts: Outcomes of records without a usable event time.
        late_at: Positions of late records, ascending.
        uncovered: Times and counters of late records that no checkpoint counts yet, latest first.
    """

    start: int
    greatest_us: int
    counts: Mapping[Key, int]
    late_at: list[int]
    uncovered: list[tuple[int, Key]]


@dataclasses.dataclass(slots=True)
class Coverage:
    """Track which chunks of one source a restart reads again.

    A source mark holds this record, so it is small: most partitions of a log are covered.

    Args:
        spans: Chunks that are read again, by partition. A partition without any is absent.
        all_late: Whether every record so far was late, by partition. A partition without records is absent.
    """

    spans: dict[str, deque[Span]] = dataclasses.field(default_factory=dict)
    all_late: dict[str, bool] = dataclasses.field(default_factory=dict)

    @classmethod
    def resumed(cls, partitions: Mapping[str, PartitionState]) -> Coverage:
        """Start from a checkpoint, whose open chunks are read again.

        Args:
            partitions: The checkpoint's partitions of this source.

        Returns:
            Coverage without chunks.
        """
        return cls(all_late={name: state.all_late for name, state in partitions.items() if state.end})

    def note(
        self,
        name: str,
        start: int,
        greatest_us: int,
        counts: Mapping[Key, int],
        late: Sequence[Late],
        records: int | None,
    ) -> None:
        """Note that a chunk was read.

        Args:
            name: Name of the partition.
            start: Position of the chunk.
            greatest_us: Greatest usable event time in the chunk, microseconds.
            counts: Outcomes of records without a usable event time.
            late: Late records of the chunk.
            records: How many records the chunk had. None if it was read again after a restart.
        """
        uncovered = sorted(((each.at_us, each.key) for each in late if each.key is not None), reverse=True)
        late_at = sorted(each.position for each in late)
        self.spans.setdefault(name, deque()).append(Span(start, greatest_us, dict(counts), late_at, uncovered))
        if records:
            self.all_late[name] = self.all_late.get(name, True) and len(late) == records

    def cover(self, cut_us: int, needed_us: int) -> Counter[Key]:
        """Drop the chunks that no longer need to be read again.

        Args:
            cut_us: The checkpoint's cut, microseconds. Late records before it are counted by the checkpoint.
            needed_us: Events before this time cannot matter any more, microseconds.

        Returns:
            Outcomes that a checkpoint has to count from now on. These are late records before the cut, and records
            without a usable time in chunks that are not read again.
        """
        covered: Counter[Key] = Counter()
        for name, spans in list(self.spans.items()):
            for span in spans:
                while span.uncovered and span.uncovered[-1][0] < cut_us:
                    covered[span.uncovered.pop()[1]] += 1
            while spans and spans[0].greatest_us < needed_us and not spans[0].uncovered:
                covered.update(spans.popleft().counts)
            if not spans:
                del self.spans[name]
        return covered

    def begin_anew(self, name: str) -> Counter[Key]:
        """Drop all chunks of a partition that was replaced, since its former content cannot be read again.

        Args:
            name: Name of the partition.

        Returns:
            Outcomes that a checkpoint has to count from now on.
        """
        self.all_late.pop(name, None)
        covered: Counter[Key] = Counter()
        for span in self.spans.pop(name, ()):
            covered.update(span.counts)
            covered.update(key for _, key in span.uncovered)
        return covered

    def is_covered(self, name: str) -> bool:
        """Return whether no chunk of a partition is read again."""
        return name not in self.spans

    def forget(self, name: str) -> None:
        """Forget a partition that is covered."""
        self.all_late.pop(name, None)

    def part(self, name: str) -> Part:
        """Return the coverage of a partition for a checkpoint."""
        spans = self.spans.get(name, ())
        late = tuple(position for span in spans for position in span.late_at)
        return Part(spans[0].start if spans else None, late, self.all_late.get(name, False))

    def late_partitions(self) -> Iterable[str]:
        """Return the partitions whose records were all late so far."""
        return [name for name, all_late in self.all_late.items() if all_late]
