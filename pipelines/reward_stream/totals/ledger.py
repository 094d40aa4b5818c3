"""Add up each bandit's rows and counters: the running totals behind snapshots and checkpoints.

A run keeps two ledgers. `live` adds what has matured and is published. `closed` adds what can no longer change and is
saved. Both share one `Segments`: a segment with a row in one ledger has a row in the other, or a restart would remove
the row. All sums are integers, so the order of the shards' reports does not matter. The cost of adding depends only on
the size of the delta.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from pipelines.reward_stream.totals.counters import SEGMENTS_OVER_LIMIT, STREAM, home
from pipelines.reward_stream.totals.segments import ALL, Segments
from pipelines.reward_stream.totals.shard_reports import Standing, Standings
from serving_client.contracts.bandits import Bandit, Bandits
from transforms.attribution.joining.delta import Delta
from transforms.attribution.rules import HOLDBACK, Label
from transforms.attribution.statistics.rows import RowSums

__all__ = ["Ledger", "Row"]

# Rows leave the snapshot after retain_generations and the memory after twice that: a decision of an old generation that
# comes in between finds its row as it was, so that stream and batch agree about it.
_FORGET = 2


class Row(NamedTuple):
    """Hold the current totals of one row. `max_event_us` is None if nothing in the row has matured."""

    label: Label
    sums: RowSums
    pending: int
    max_event_us: int | None


@dataclasses.dataclass(slots=True)
class _Book:
    """Hold one bandit's totals in its present epoch."""

    policy_epoch: int
    max_segments: int
    rows: dict[Label, RowSums] = dataclasses.field(default_factory=dict)
    counters: Counter[str] = dataclasses.field(default_factory=Counter)


class Ledger:
    """Hold totals per (bandit, policy_epoch), and the counters of the stream.

    Args:
        segments: Segments with rows, shared by two ledgers.
        standings: Absolute values that the shards report. The caller replaces them.
    """

    def __init__(self, segments: Segments, standings: Standings | None = None) -> None:
        self.standings = standings or Standings()
        self._segments = segments
        self._books: dict[str, _Book] = {}
        self._stream: Counter[str] = Counter()

    def follow(self, bandits: Bandits) -> None:
        """Apply a bandits file. A new policy_epoch starts empty. A bandit that left the file keeps its totals."""
        for bandit_id, bandit in bandits.bandits.items():
            book = self._books.get(bandit_id)
            if book is None or book.policy_epoch != bandit.policy_epoch:
                self._books[bandit_id] = _Book(bandit.policy_epoch, bandit.max_segments)
                if book is not None:
                    self._segments.forget(bandit_id)

    def add(self, delta: Delta) -> set[str]:
        """Add a delta. Rows of an epoch that is over are ignored.

        Args:
            delta: The delta.

        Returns:
            The bandits (or STREAM) that changed.
        """
        changed = self.count(delta.counters)
        for label, sums in delta.rows.items():
            book = self._books.get(label.bandit_id)
            if book is not None and book.policy_epoch == label.policy_epoch:
                self._add_row(book, label, sums)
                changed.add(label.bandit_id)
        return changed

    def count(self, counters: Mapping[tuple[str, int, str], int]) -> set[str]:
        """Add counters.

        Args:
            counters: Number of records by (bandit, epoch, outcome).

        Returns:
            The bandits (or STREAM) that changed.
        """
        epochs = {bandit_id: book.policy_epoch for bandit_id, book in self._books.items()}
        changed: set[str] = set()
        for (bandit_id, epoch, outcome), count in counters.items():
            owner = home(bandit_id, epoch, outcome, epochs)
            if owner is not None and count:
                self._counters_of(owner)[outcome] += count
                changed.add(owner)
        return changed

    def rows(self, bandit: Bandit) -> list[Row]:
        """Return all rows of a bandit's snapshot, by key. Empty rows and rows of expired arms are left out."""
        book, standing = self._of(bandit)
        pending = self._pending_with_a_row(bandit, standing)
        expired = _expired(bandit, standing, bandit.retain_generations_us)
        return [
            Row(label, book.rows.get(label) or RowSums(), pending.get(label, 0), standing.event_us.get(label))
            for label in sorted({*book.rows, *pending})
            if label in pending or (label.arm_id, label.arm_generation) not in expired
        ]

    def newest_decided_us(self, bandit: Bandit) -> int | None:
        """Return the bandit's largest counted decided_at, None before there is one."""
        return self.standings.of(bandit.bandit_id, bandit.policy_epoch).newest_decided_us()

    def counters(self, bandit_id: str) -> Counter[str]:
        """Return the counters of a bandit, or of STREAM."""
        return Counter(self._counters_of(bandit_id))

    def prune(self, bandits: Bandits) -> None:
        """Remove hours and generations that no snapshot will show again. The cost is a look at every row."""
        for bandit in bandits.bandits.values():
            book, standing = self._of(bandit)
            newest_us = standing.newest_decided_us()
            if newest_us is None:
                continue
            expired = _expired(bandit, standing, _FORGET * bandit.retain_generations_us)
            for label in [label for label in book.rows if (label.arm_id, label.arm_generation) in expired]:
                del book.rows[label]
            for sums in book.rows.values():
                sums.prune(newest_us, bandit.hours_kept)
                sums.cut_decayed(newest_us, bandit.half_lives)

    def to_state(self) -> dict[str, Any]:
        """Return the exact totals as a JSON value, without the shared segments and without what is pending."""
        return {"stream": dict(self._stream), "bandits": {name: self._book_state(name) for name in self._books}}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], segments: Segments) -> Ledger:
        """Return the ledger that `to_state` described, for shards that start from a checkpoint."""
        labelled = [
            (Label(bandit_id, saved["policy_epoch"], *key), event_us, decided_us)
            for bandit_id, saved in state["bandits"].items()
            for *key, event_us, decided_us in saved["maxima"]
        ]
        ledger = cls(segments, Standings(labelled))
        ledger._stream.update(state["stream"])
        for bandit_id, saved in state["bandits"].items():
            epoch = saved["policy_epoch"]
            rows = {Label(bandit_id, epoch, *key): RowSums.from_state(sums) for *key, sums in saved["rows"]}
            ledger._books[bandit_id] = _Book(epoch, saved["max_segments"], rows, Counter(saved["counters"]))
        return ledger

    def _book_state(self, bandit_id: str) -> dict[str, Any]:
        book = self._books[bandit_id]
        standing = self.standings.of(bandit_id, book.policy_epoch)
        # Of a segment without a row only the share in `*` is needed: there may be very many of them.
        named = {
            label
            for label in {*standing.event_us, *standing.decided_us}
            if self._segments.has(bandit_id, label.segment)
        }
        return {
            "policy_epoch": book.policy_epoch,
            "max_segments": book.max_segments,
            "counters": dict(book.counters),
            "rows": [[*label[2:], book.rows[label].to_state()] for label in sorted(book.rows)],
            "maxima": [
                [*label[2:], standing.event_us.get(label), standing.decided_us.get(label)] for label in sorted(named)
            ],
        }

    def _add_row(self, book: _Book, label: Label, sums: RowSums) -> None:
        if label.segment != HOLDBACK:
            _add(book.rows, label._replace(segment=ALL), sums)
        if label.segment == ALL:
            return
        if self._segments.admits(label.bandit_id, label.segment, book.max_segments):
            _add(book.rows, label, sums)
        else:
            book.counters[SEGMENTS_OVER_LIMIT] += sums.n + sums.fallbacks

    def _pending_with_a_row(self, bandit: Bandit, standing: Standing) -> dict[Label, int]:
        """Return pending counts. Of the segments without a row, include only as many as there is room for."""
        waiting = {each.segment for each in standing.pending if not self._segments.has(bandit.bandit_id, each.segment)}
        unseen = set(sorted(waiting)[self._segments.room(bandit.bandit_id, bandit.max_segments) :])
        return {label: n for label, n in standing.pending.items() if n and label.segment not in unseen}

    def _counters_of(self, owner: str) -> Counter[str]:
        return self._stream if owner == STREAM else self._books[owner].counters

    def _of(self, bandit: Bandit) -> tuple[_Book, Standing]:
        return self._books[bandit.bandit_id], self.standings.of(bandit.bandit_id, bandit.policy_epoch)


def _add(rows: dict[Label, RowSums], label: Label, sums: RowSums) -> None:
    """Add sums to a row. A row that corrections emptied is removed.

    The row is a copy, because the sums belong to the delta.
    """
    row = rows.get(label)
    if row is None:
        row = rows[label] = RowSums()
    row.add(sums)
    if row.n == 0 and row.fallbacks == 0 and row.is_zero():
        del rows[label]


def _expired(bandit: Bandit, standing: Standing, retain_us: int) -> set[tuple[str, int]]:
    """Return (arm, generation) without traffic whose last counted decision is `retain_us` before the newest."""
    active = {(arm.arm_id, arm.generation) for arm in bandit.arms.values() if arm.state == "active"}
    oldest_us = (standing.newest_decided_us() or 0) - retain_us
    newest_us: dict[tuple[str, int], int] = {}
    for label, decided_us in standing.decided_us.items():
        if label.segment in (ALL, HOLDBACK):  # together they hold every decision
            arm = label.arm_id, label.arm_generation
            newest_us[arm] = max(newest_us.get(arm, decided_us), decided_us)
    return {arm for arm, decided_us in newest_us.items() if decided_us < oldest_us and arm not in active}
