"""Define the log that the sequencer reads: whole lines in order per partition, from a given position on.

Files are the first such log. A Kafka topic or a Pub/Sub subscription can implement the same protocol. A log tracks its
positions. `coverage` tracks what a restart has to read again, and `transforms.attribution` parses the lines.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

__all__ = ["LineChunk", "Log", "Position"]


@dataclasses.dataclass(frozen=True, slots=True)
class LineChunk:
    """Hold whole lines of one partition (a file, or a broker's partition).

    Args:
        partition: Name of the partition.
        start: Position of the first line.
        end: Position after the last line, where the next chunk begins.
        lines: The lines, each ending in LF. The last one may lack its LF.
        reread: Whether the lines were read before the restart.
        anew: Whether the partition was replaced under the same name. This chunk, which may be empty, is its beginning.
    """

    partition: str
    start: int
    end: int
    lines: bytes
    reread: bool = False
    anew: bool = False


class Position(NamedTuple):
    """Hold the position of a partition. It is a tuple because marks hold one for each partition.

    Args:
        at: Start of the next chunk.
        end: How far the partition had been read before a restart. Otherwise equal to `at`.
        head: Text that recognises the partition.
        listed_at_us: When the partition was last listed, microseconds, exact to a sixty-fourth of the horizon.
    """

    at: int
    end: int
    head: str
    listed_at_us: int


class Log(Protocol):
    """Read one source, decisions or rewards, with all its partitions.

    A log begins at the positions given to its constructor. Nothing is acknowledged: after a crash a new reader begins
    at positions that an engine or a checkpoint kept.
    """

    def next(self) -> LineChunk | None:
        """Return the next lines, of bounded size. Re-read lines come first.

        Returns:
            The lines. None if there are no whole lines now.
        """

    def rest(self) -> Iterator[LineChunk]:
        """Yield last lines without a line end, at the end of a run.

        Positions do not move, since these lines may yet grow.
        """

    @property
    def at_end(self) -> bool:
        """Return whether everything has been read that the last look found."""

    @property
    def unreadable(self) -> int:
        """Return how many partitions are skipped because they cannot be read."""

    @property
    def rereading(self) -> bool:
        """Return whether chunks that were read before the restart are still to come."""

    def is_read(self, partition: str) -> bool:
        """Return whether a partition was read to its last known end."""

    def positions(self) -> Mapping[str, Position]:
        """Return the position of each partition, by name."""

    def expired(self) -> Iterable[str]:
        """Return the partitions that vanished so long ago that their names can be forgotten."""

    def forget(self, partition: str) -> None:
        """Forget a partition."""
