"""Which tick is whole: a report of the source and a step of every shard, taken in the order of the input.

A step or report that comes twice is a runner's retry; it is the same by construction and counts once. On a final tick a
shard answers twice: with the step of the tick, and with one in which everything has matured. What one sender says comes
in the order in which it said it, so that a tick is not whole before the one before it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from pipelines.reward_stream.sources.reports import SourceReport
from transforms.attribution.joining.delta import FoldResult

__all__ = ["Ticks"]


@dataclasses.dataclass(slots=True)
class _Tick:
    """One position of the input, as far as it is known. Both kinds of steps are by shard."""

    report: SourceReport | None = None
    steps: dict[int, FoldResult] = dataclasses.field(default_factory=dict)
    ends: dict[int, FoldResult] = dataclasses.field(default_factory=dict)

    def in_order(self) -> list[FoldResult]:
        """All steps, those of the tick before those that end the run, by shard."""
        return [steps[shard] for steps in (self.steps, self.ends) for shard in sorted(steps)]


class Ticks:
    """What has come in and is not yet handed out. handed_out: the last tick that was, -1 before any."""

    def __init__(self, shards: int, handed_out: int = -1) -> None:
        self.handed_out = handed_out
        self._shards = shards
        self._waiting: dict[int, _Tick] = {}

    def add(self, message: FoldResult | SourceReport) -> None:
        """Note a step or report; one of a tick that is over is a repetition."""
        if message.seq <= self.handed_out:
            return
        tick = self._waiting.setdefault(message.seq, _Tick())
        if isinstance(message, SourceReport):
            tick.report = message
        elif message.final:
            tick.ends[message.shard] = message
        else:
            tick.steps[message.shard] = message

    def whole(self) -> Iterator[tuple[SourceReport, list[FoldResult]]]:
        """Hand out whole ticks, the earliest first, up to one that is not."""
        while self._waiting:
            seq = min(self._waiting)
            tick = self._waiting[seq]
            report = tick.report
            if report is None or report.after > self.handed_out or len(tick.steps) < self._shards:
                return
            if report.final and len(tick.ends) < self._shards:
                return
            self.handed_out = seq
            del self._waiting[seq]
            yield report, tick.in_order()

    def waiting(self) -> list[FoldResult | SourceReport]:
        """What came in and was not handed out, to be added again after a restart."""
        reports = [tick.report for tick in self._waiting.values() if tick.report is not None]
        return [*reports, *(step for tick in self._waiting.values() for step in tick.in_order())]
