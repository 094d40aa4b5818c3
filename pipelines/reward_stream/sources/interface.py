"""What a log must do so that the sequencer can read it: whole lines in order per partition, from a position on.

Files are the first such log; a Kafka topic or a Pub/Sub subscription attaches here. A log knows where it is; what of it
has to be read again after a restart is `coverage`'s business, what the lines say that of `transforms.attribution`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

__all__ = ["LineChunk", "Log", "Position"]


@dataclasses.dataclass(frozen=True, slots=True)
class LineChunk:
    """Whole lines of one partition (a file, a broker's partition).

    start, end: their positions, end exclusive; the next chunk of the partition begins at `end`. lines: end in LF, the
    last one perhaps not. reread: they were read before the restart. anew: the partition is another one than before
    under the same name, and this chunk (which may be empty) is its beginning.
    """

    partition: str
    start: int
    end: int
    lines: bytes
    reread: bool = False
    anew: bool = False


class Position(NamedTuple):
    """Where a partition is. A tuple, since marks hold one of each partition.

    at: the next chunk's start. end: how far it had been read before a restart, `at` otherwise. head: what recognises
    the partition. listed_at_us: when it was last seen to exist, to within a sixty-fourth of the horizon.
    """

    at: int
    end: int
    head: str
    listed_at_us: int


class Log(Protocol):
    """One source, decisions or rewards, with all its partitions; begun at positions given to its constructor.

    Nothing is acknowledged: a reader that dies begins again at positions that it or a checkpoint kept.
    """

    def next(self) -> LineChunk | None:
        """The next lines, a bounded number of bytes; None if there are no whole lines now. Re-read ones come first."""

    def rest(self) -> Iterator[LineChunk]:
        """At the end of a run: last lines without a line end. They do not move the position: they may yet grow."""

    @property
    def at_end(self) -> bool:
        """Whether everything there was when last looked has been read."""

    @property
    def unreadable(self) -> int:
        """How many partitions are passed over, because they cannot be read."""

    @property
    def rereading(self) -> bool:
        """Whether there are chunks to come that were read before the restart."""

    def is_read(self, partition: str) -> bool:
        """Whether a partition was read to where it ended last."""

    def positions(self) -> Mapping[str, Position]:
        """Where each partition is, by name."""

    def expired(self) -> Iterable[str]:
        """Partitions that are gone for so long that their names may be forgotten."""

    def forget(self, partition: str) -> None:
        """Remember nothing of a partition."""
