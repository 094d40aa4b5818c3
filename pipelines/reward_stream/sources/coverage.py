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

__all__ = ["Coverage", "Key", "Late", "Part"]

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


@dataclasses.dataclass(slots=True)
class _Span:
    """A chunk. greatest_us: its greatest usable event time. counts: of records without one. late_at: ascending.

    uncovered: late records that no checkpoint counts yet, latest first.
    """

    start: int
    greatest_us: int
    counts: Mapping[Key, int]
    late_at: list[int]
    uncovered: list[tuple[int, Key]]


@dataclasses.dataclass(slots=True)
class _Partition:
    spans: deque[_Span] = dataclasses.field(default_factory=deque)
    all_late: bool | None = None  # None: no record yet


class Coverage:
    """Of one source. Picklable. resumed: what a checkpoint says of its partitions, whose spans are read again."""

    def __init__(self, resumed: Mapping[str, PartitionState]) -> None:
        self._partitions = {
            name: _Partition(all_late=state.all_late if state.end else None) for name, state in resumed.items()
        }
        self._open: set[str] = set()  # those with spans

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
        partition = self._partitions.setdefault(name, _Partition())
        uncovered = sorted(((each.at_us, each.key) for each in late if each.key is not None), reverse=True)
        late_at = sorted(each.position for each in late)
        partition.spans.append(_Span(start, greatest_us, dict(counts), late_at, uncovered))
        self._open.add(name)
        if records:
            partition.all_late = partition.all_late is not False and len(late) == records

    def cover(self, cut_us: int, needed_us: int) -> Counter[Key]:
        """Events before `needed_us` cannot matter any more; returns what a checkpoint has to count from now on.

        That is: late records before the cut, and records without a usable time in chunks that are not read again.
        """
        covered: Counter[Key] = Counter()
        for name in list(self._open):
            spans = self._partitions[name].spans
            for span in spans:
                while span.uncovered and span.uncovered[-1][0] < cut_us:
                    covered[span.uncovered.pop()[1]] += 1
            while spans and spans[0].greatest_us < needed_us and not spans[0].uncovered:
                covered.update(spans.popleft().counts)
            if not spans:
                self._open.discard(name)
        return covered

    def begin_anew(self, name: str) -> Counter[Key]:
        """The partition is another one now and its former chunks cannot be read again; returns as `cover` does."""
        partition = self._partitions.pop(name, None)
        self._open.discard(name)
        covered: Counter[Key] = Counter()
        for span in partition.spans if partition else ():
            covered.update(span.counts)
            covered.update(key for _, key in span.uncovered)
        return covered

    def is_covered(self, name: str) -> bool:
        """Whether nothing of a partition is read again."""
        return name not in self._open

    def forget(self, name: str) -> None:
        """Remember nothing of a partition that is covered."""
        self._partitions.pop(name, None)

    def part(self, name: str) -> Part:
        """What a checkpoint says of a partition."""
        partition = self._partitions.get(name)
        if partition is None:
            return Part(None, (), False)
        late = tuple(position for span in partition.spans for position in span.late_at)
        return Part(partition.spans[0].start if partition.spans else None, late, bool(partition.all_late))

    def late_partitions(self) -> Iterable[str]:
        """Partitions all of whose records were late so far."""
        return [name for name, partition in self._partitions.items() if partition.all_late]
