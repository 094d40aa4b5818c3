"""How far event time has come: the watermark that holds records open and the one that matures decisions.

Both follow the events of the slower source, never the wall clock; that one decides only whether a source is silent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping

from serving_client.contracts.times import BEFORE_ALL_US

__all__ = ["Watermarks"]


@dataclasses.dataclass(slots=True)
class Watermarks:
    """Microseconds. newest_us: per source the largest accepted event time. heard_us: when it last delivered (clock).

    was_idle: sources that were idle before a restart and have not delivered since. idle: those that are now.
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
        """Where a start finds them."""
        newest = {source: newest_us.get(source, BEFORE_ALL_US) for source in sources}
        return cls(newest, dict.fromkeys(newest, now_us), set(idle), frozenset(idle), holding_us, maturing_us)

    def deliver(self, source: str, now_us: int, newest_us: int) -> None:
        """A source delivered; newest_us: its newest accepted event, BEFORE_ALL_US if it had none."""
        self.heard_us[source] = now_us
        self.newest_us[source] = max(self.newest_us[source], newest_us)
        self.was_idle.discard(source)

    def update(self, now_us: int, at_end: Collection[str], disorder_us: int, idle_us: int, hold_us: int) -> None:
        """Move both watermarks; neither falls.

        at_end: sources read to their end. One that is silent for idle_us does not hold the maturing watermark, nor
        after hold_us the holding one. Where no source is left, a watermark stands still. A source that never had an
        event holds both back entirely.
        """
        silent_us = {source: now_us - heard_us for source, heard_us in self.heard_us.items() if source in at_end}
        self.idle = frozenset(
            source for source, waited_us in silent_us.items() if source in self.was_idle or waited_us >= idle_us
        )
        holding = [newest_us for source, newest_us in self.newest_us.items() if silent_us.get(source, -1) < hold_us]
        maturing = [newest_us for source, newest_us in self.newest_us.items() if source not in self.idle]
        if holding:
            self.holding_us = max(self.holding_us, min(holding) - disorder_us)
        if maturing:
            self.maturing_us = max(self.maturing_us, min(maturing) - disorder_us)
        self.maturing_us = max(self.maturing_us, self.holding_us)
