"""Combine everything that was read: the ledger that is published, the ledger that is saved, and their rules."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pipelines.reward_stream.publishing.checkpoint import Checkpoint, attribution_keys
from pipelines.reward_stream.sources.reports import SourceReport, SourceState
from pipelines.reward_stream.totals.ledger import Ledger
from pipelines.reward_stream.totals.segments import ALL, Segments
from serving_client.bandits_file import parse_bytes
from serving_client.contracts.bandits import Bandits
from transforms.attribution.joining.delta import FoldResult

__all__ = ["Totals", "TotalsState", "outcomes_of"]


@dataclasses.dataclass(frozen=True, slots=True)
class TotalsState:
    """Hold all totals as JSON values. `attribution` holds the rules of each bandit's totals (see Checkpoint)."""

    live: Mapping[str, Any]
    closed: Mapping[str, Any]
    segments: Mapping[str, list[str]]
    attribution: Mapping[str, tuple[int, Mapping[str, Any]]]


class Totals:
    """Hold live and closed totals of all bandits.

    Args:
        bandits: The bandits file.
        state: Totals from an engine's own state. None starts empty.
    """

    def __init__(self, bandits: Bandits, state: TotalsState | None = None) -> None:
        self.bandits = bandits
        self._segments = Segments(state.segments if state else None)
        self.live = Ledger.from_state(state.live, self._segments) if state else Ledger(self._segments)
        self._closed = Ledger.from_state(state.closed, self._segments) if state else Ledger(self._segments)
        self._attribution: Mapping[str, tuple[int, Mapping[str, Any]]] = state.attribution if state else {}
        self._follow(bandits)

    @classmethod
    def resumed(cls, bandits: Bandits, checkpoint: Checkpoint) -> Totals:
        """Continue from a checkpoint.

        Args:
            bandits: The bandits file.
            checkpoint: The checkpoint, with the closed totals and the source's own counters before the cut.

        Returns:
            The totals.
        """
        state = TotalsState(checkpoint.closed, checkpoint.closed, checkpoint.segments, checkpoint.attribution)
        totals = cls(bandits, state)
        epochs = {bandit_id: bandit.policy_epoch for bandit_id, bandit in bandits.bandits.items()}
        totals.live.count(
            {key: n for key, n in checkpoint.sources.counters.items() if key[1] >= epochs.get(key[0], key[1])}
        )
        return totals

    def add(self, reports: Iterable[SourceReport], results: Iterable[FoldResult]) -> set[str]:
        """Add reports of the source and results of the shards.

        Args:
            reports: The reports.
            results: The results.

        Returns:
            The bandits (or STREAM) that changed.
        """
        changed: set[str] = set()
        results = list(results)
        for report in reports:
            if report.rules is not None:
                changed |= self._follow(parse_bytes(report.rules, "bandits file"))
            changed |= self.live.count(report.counters)
        for result in results:
            changed |= self.live.add(result.live)
            changed |= self.live.standings.replace(
                result.shard, result.pending, result.max_event_us, result.max_decided_us
            )
        for result in results:  # after all that is live: a segment is admitted by what matures
            self._closed.add(result.closed)
            self._closed.standings.replace(result.shard, {}, result.closed_max_event_us, result.closed_max_decided_us)
        return changed

    def admit(self, bandit_id: str, policy_epoch: int | None, segments: Iterable[str]) -> None:
        """Give rows to the segments that have rows in the last snapshot, so that a restart removes none."""
        bandit = self.bandits.bandits.get(bandit_id)
        if bandit is not None and bandit.policy_epoch == policy_epoch:
            for segment in segments:
                if segment != ALL:
                    self._segments.admits(bandit_id, segment, bandit.max_segments)

    def prune(self) -> None:
        """Remove what no snapshot will show again."""
        self.live.prune(self.bandits)
        self._closed.prune(self.bandits)

    def checkpoint(self, cut_us: int, sources: SourceState) -> Checkpoint:
        """Return the checkpoint at the tick that was added last."""
        return Checkpoint(
            cut_us=cut_us,
            closed=self._closed.to_state(),
            segments=self._segments.to_state(),
            sources=sources,
            attribution=self._attribution,
        )

    def to_state(self) -> TotalsState:
        """Return the totals for an engine that keeps state.

        The absolute values of shards are left out, since later results report them again.
        """
        return TotalsState(
            self.live.to_state(), self._closed.to_state(), self._segments.to_state(), dict(self._attribution)
        )

    def _follow(self, bandits: Bandits) -> set[str]:
        """Apply a bandits file. Return all its bandits, since the configuration in their snapshots may differ."""
        self.bandits = bandits
        self.live.follow(bandits)
        self._closed.follow(bandits)
        self._attribution = attribution_keys(bandits, self._attribution)
        return set(bandits.bandits)


def outcomes_of(reports: Iterable[SourceReport], results: Iterable[FoldResult]) -> Counter[str]:
    """Return the net change of each outcome over all bandits. Corrections may lower an outcome."""
    outcomes: Counter[str] = Counter()
    for counters in (*(report.counters for report in reports), *(result.live.counters for result in results)):
        for (_, _, outcome), count in counters.items():
            outcomes[outcome] += count
    return outcomes
