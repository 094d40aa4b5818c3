"""Compute the holding watermark, which keeps records open, and the maturing watermark, which matures decisions.

Both follow the events of the slower source. The wall clock only decides whether a source is silent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping

from serving_client.contracts.times import BEFORE_ALL_US

__all__ = ["Watermarks"]


@dataclasses.dataclass(slots=True)
class Watermarks:
    """Hold both watermarks and the times that they depend on. All times are in microseconds.

    Args:
        newest_us: Greatest accepted event time per source.
        heard_us: Clock time per source when it last delivered.
        was_idle: Sources that were idle before a restart and have not delivered since.
        idle: Sources that are idle now.
        holding_us: The holding watermark.
        maturing_us: The maturing watermark.
    """

    newest_us: dict[str, int]
    heard_us: dict[str, int]
    was_idle: set[str] = dataclasses.field(default_factory=set)
    idle: frozenset[str] = frozenset()
    holding_us: int = BEFORE_ALL_US
    maturing_us: int = BEFORE_ALL_US

    @classmethod
    def begin(
        cls,
        sources: Iterable[str],
        now_us: int,
        newest_us: Mapping[str, int],
        idle: Collection[str],
        holding_us: int,
        maturing_us: int,
    ) -> Watermarks:
        """Return the watermarks at the start of a run.

        Args:
            sources: Names of the sources.
            now_us: The clock, microseconds.
            newest_us: Greatest accepted event time per source, as far as a checkpoint has it.
            idle: Sources that were idle at the checkpoint.
            holding_us: Holding watermark of the checkpoint.
            maturing_us: Maturing watermark of the checkpoint.

        Returns:
            The watermarks.
        """
        newest = {source: newest_us.get(source, BEFORE_ALL_US) for source in sources}
        return cls(newest, dict.fromkeys(newest, now_us), set(idle), frozenset(idle), holding_us, maturing_us)

    def deliver(self, source: str, now_us: int, newest_us: int) -> None:
        """Note that a source delivered records.

        Args:
            source: Name of the source.
            now_us: The clock, microseconds.
            newest_us: Greatest accepted event time of the records. BEFORE_ALL_US if none was accepted.
        """
        self.heard_us[source] = now_us
        self.newest_us[source] = max(self.newest_us[source], newest_us)
        self.was_idle.discard(source)

    def update(
        self, now_us: int, at_end: Collection[str], disorder_us: int, idle_us: Mapping[str, int], hold_us: int
    ) -> None:
        """Move both watermarks forward. Neither ever falls.

        If no source is left to follow, a watermark stands still. A source without any event holds both watermarks back.

        Args:
            now_us: The clock, microseconds.
            at_end: Sources that have been read to their end.
            disorder_us: How far the watermarks trail the newest event, microseconds.
            idle_us: Silence after which a source at its end no longer holds the maturing watermark, by source,
                microseconds.
            hold_us: Silence after which a source at its end no longer holds the holding watermark, microseconds.
        """
        silent_us = {source: now_us - heard_us for source, heard_us in self.heard_us.items() if source in at_end}
        self.idle = frozenset(
            source for source, waited_us in silent_us.items() if source in self.was_idle or waited_us >= idle_us[source]
        )
        holding = [newest_us for source, newest_us in self.newest_us.items() if silent_us.get(source, -1) < hold_us]
        maturing = [newest_us for source, newest_us in self.newest_us.items() if source not in self.idle]
        if holding:
            self.holding_us = max(self.holding_us, min(holding) - disorder_us)
        if maturing:
            self.maturing_us = max(self.maturing_us, min(maturing) - disorder_us)
        self.maturing_us = max(self.maturing_us, self.holding_us)
