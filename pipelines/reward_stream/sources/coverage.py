"""What of a source must be read again after a restart: per partition the chunks with events that still count.

A chunk is wholly covered by a checkpoint when none of its events can matter any more. What the reader itself decided
about its records (malformed, future, late) is then the checkpoint's to remember; until then a restart finds it anew.
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
    """A record that was late. key: None where a checkpoint counts it already."""

    position: int
    at_us: int
    key: Key | None


class Part(NamedTuple):
    """What a PartitionState says of coverage; start is None where all that was read is covered."""

    start: int | None
    late: tuple[int, ...]
    all_late: bool


class Span(NamedTuple):
    """A chunk; a tuple, since marks hold many.

    greatest_us: its greatest usable event time. counts: of records without one. late_at: ascending. uncovered: late
    records that no checkpoint counts yet, latest first.
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
        """A chunk was read. records: how many it had, None if it was read again."""
        uncovered = sorted(((each.at_us, each.key) for each in late if each.key is not None), reverse=True)
        late_at = sorted(each.position for each in late)
        self.spans.setdefault(name, deque()).append(Span(start, greatest_us, dict(counts), late_at, uncovered))
        if records:
            self.all_late[name] = self.all_late.get(name, True) and len(late) == records

    def cover(self, cut_us: int, needed_us: int) -> Counter[Key]:
        """Events before `needed_us` cannot matter any more; returns what a checkpoint has to count from now on.

        That is: late records before the cut, and records without a usable time in chunks that are not read again.
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
        """The partition is another one now and its former chunks cannot be read again; returns as `cover` does."""
        self.all_late.pop(name, None)
        covered: Counter[Key] = Counter()
        for span in self.spans.pop(name, ()):
            covered.update(span.counts)
            covered.update(key for _, key in span.uncovered)
        return covered

    def is_covered(self, name: str) -> bool:
        """Whether nothing of a partition is read again."""
        return name not in self.spans

    def forget(self, name: str) -> None:
        """Remember nothing of a partition that is covered."""
        self.all_late.pop(name, None)

    def part(self, name: str) -> Part:
        """What a checkpoint says of a partition."""
        spans = self.spans.get(name, ())
        late = tuple(position for span in spans for position in span.late_at)
        return Part(spans[0].start if spans else None, late, self.all_late.get(name, False))

    def late_partitions(self) -> Iterable[str]:
        """Partitions all of whose records were late so far."""
        return [name for name, all_late in self.all_late.items() if all_late]
