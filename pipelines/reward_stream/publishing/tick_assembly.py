"""Assemble whole ticks: a report of the source and a result of every shard, in the order of the input.

A result or report that arrives twice is a runner's retry. It is identical by construction and counts once. On a final
tick a shard answers twice: with the result of the tick, and with a result in which everything has matured. Messages of
one sender arrive in order, so a tick is never whole before its predecessor.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from pipelines.reward_stream.sources.reports import SourceReport
from transforms.attribution.joining.delta import FoldResult

__all__ = ["Ticks"]


@dataclasses.dataclass(slots=True)
class _Tick:
    """Hold what has arrived for one position of the input. Both kinds of results are keyed by shard."""

    report: SourceReport | None = None
    results: dict[int, FoldResult] = dataclasses.field(default_factory=dict)
    ends: dict[int, FoldResult] = dataclasses.field(default_factory=dict)

    def in_order(self) -> list[FoldResult]:
        """Return all results by shard, the results of the tick before those that end the run."""
        return [results[shard] for results in (self.results, self.ends) for shard in sorted(results)]


class Ticks:
    """Hold the messages that are not yet handed out.

    Args:
        shards: Number of shards.
        handed_out: Number of the last tick that was handed out, -1 before any.
    """

    def __init__(self, shards: int, handed_out: int = -1) -> None:
        self.handed_out = handed_out
        self._shards = shards
        self._waiting: dict[int, _Tick] = {}

    def add(self, message: FoldResult | SourceReport) -> None:
        """Add a result or report. Ignore it if its tick was handed out already."""
        if message.seq <= self.handed_out:
            return
        tick = self._waiting.setdefault(message.seq, _Tick())
        if isinstance(message, SourceReport):
            tick.report = message
        elif message.final:
            tick.ends[message.shard] = message
        else:
            tick.results[message.shard] = message

    def whole(self) -> Iterator[tuple[SourceReport, list[FoldResult]]]:
        """Yield whole ticks, the earliest first, up to the first that is not whole."""
        while self._waiting:
            seq = min(self._waiting)
            tick = self._waiting[seq]
            report = tick.report
            if report is None or report.after > self.handed_out or len(tick.results) < self._shards:
                return
            if report.final and len(tick.ends) < self._shards:
                return
            self.handed_out = seq
            del self._waiting[seq]
            yield report, tick.in_order()

    def waiting(self) -> list[FoldResult | SourceReport]:
        """Return the messages that were not handed out, to be added again after a restart."""
        reports = [tick.report for tick in self._waiting.values() if tick.report is not None]
        return [*reports, *(result for tick in self._waiting.values() for result in tick.in_order())]
