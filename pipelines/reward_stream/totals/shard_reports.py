"""Add up the absolute values that shards report by row: the number of pending decisions and the largest times.

A shard's report replaces its previous one. The pending decisions are summed over the shards. A maximum is taken over
the shards and over the earlier runs, whose maxima a checkpoint holds.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from pipelines.reward_stream.totals.segments import ALL
from transforms.attribution.rules import HOLDBACK, Label

__all__ = ["Standing", "Standings"]

_Owner = tuple[str, int]  # bandit and policy_epoch


@dataclasses.dataclass(slots=True)
class Standing:
    """Hold the values of one bandit in one epoch, by label, `*` included. Times are microseconds since 1970."""

    pending: Counter[Label] = dataclasses.field(default_factory=Counter)
    event_us: dict[Label, int] = dataclasses.field(default_factory=dict)
    decided_us: dict[Label, int] = dataclasses.field(default_factory=dict)

    def newest_decided_us(self) -> int | None:
        """Return the largest counted decided_at of the bandit, None before there is one."""
        return max(self.decided_us.values(), default=None)


class _Reported(NamedTuple):
    pending: Mapping[Label, int]
    event_us: Mapping[Label, int]
    decided_us: Mapping[Label, int]


class Standings:
    """Hold the last report of each shard and the maxima of earlier runs. The sums are computed on demand."""

    def __init__(self, former: Iterable[tuple[Label, int | None, int | None]] = ()) -> None:
        known = list(former)
        self._former = _Reported(
            {},
            {label: event_us for label, event_us, _ in known if event_us is not None},
            {label: decided_us for label, _, decided_us in known if decided_us is not None},
        )
        self._shards: dict[int, _Reported] = {}
        self._sums: dict[_Owner, Standing] | None = None

    def replace(
        self, shard: int, pending: Mapping[Label, int], event_us: Mapping[Label, int], decided_us: Mapping[Label, int]
    ) -> set[str]:
        """Replace a shard's report.

        Args:
            shard: Number of the shard.
            pending: Pending decisions by label.
            event_us: Largest event time by label, microseconds.
            decided_us: Largest counted decided_at by label, microseconds.

        Returns:
            The bandits whose number of pending decisions changed.
        """
        before = self._shards[shard].pending if shard in self._shards else {}
        self._shards[shard] = _Reported(pending, event_us, decided_us)
        self._sums = None
        if before == pending:
            return set()
        return {label.bandit_id for label in {*before, *pending} if before.get(label, 0) != pending.get(label, 0)}

    def of(self, bandit_id: str, policy_epoch: int) -> Standing:
        """Return the values of a bandit. Do not modify them."""
        if self._sums is None:
            self._sums = self._add_up()
        return self._sums.get((bandit_id, policy_epoch)) or Standing()

    def pending(self) -> int:
        """Return how many decisions wait for their window to end, over all bandits."""
        return sum(sum(reported.pending.values()) for reported in self._shards.values())

    def _add_up(self) -> dict[_Owner, Standing]:
        sums: dict[_Owner, Standing] = {}
        for reported in (self._former, *self._shards.values()):
            for label, count in reported.pending.items():
                _both(_add_to, sums.setdefault(label[:2], Standing()).pending, label, count)
            for label, time_us in reported.event_us.items():
                _both(_raise_to, sums.setdefault(label[:2], Standing()).event_us, label, time_us)
            for label, time_us in reported.decided_us.items():
                _both(_raise_to, sums.setdefault(label[:2], Standing()).decided_us, label, time_us)
        return sums


def _both(
    change: Callable[[dict[Label, int], Label, int], None], values: dict[Label, int], label: Label, value: int
) -> None:
    """Apply a change to the label's own row and to the row of all segments, which may be the same.

    The holdback share is not part of the row of all segments.
    """
    change(values, label, value)
    if label.segment not in (ALL, HOLDBACK):
        change(values, label._replace(segment=ALL), value)


def _add_to(values: dict[Label, int], label: Label, count: int) -> None:
    values[label] = values.get(label, 0) + count


def _raise_to(values: dict[Label, int], label: Label, time_us: int) -> None:
    values[label] = max(values.get(label, time_us), time_us)
