"""Count what batch_cf does, in addition to Beam's own counters and the readers' namespace `interactions`."""

from __future__ import annotations

from collections.abc import Mapping

from apache_beam.metrics import Metrics

from transforms import progress

__all__ = ["CfMetrics"]


class CfMetrics:
    """The counters of the namespace `batch_cf`. All are plain counts.

    interactions: User-item pairs after deduplication, limits and cap.
    users: Users with at least one such pair.
    item_rows: Items whose neighbors were ranked.
    pairs_scored: Ordered pairs of items that share a user.
    partial_pairs: Pairs that entered the shuffle before they were added up.
    repeats, zero_weight, decayed, of_limited_users: Interactions that were left out, see `shards.Kept`.
    """

    NAMESPACE = "batch_cf"

    def __init__(self) -> None:
        self.interactions = Metrics.counter(self.NAMESPACE, "interactions")
        self.users = Metrics.counter(self.NAMESPACE, "users")
        self.item_rows = Metrics.counter(self.NAMESPACE, "item_rows")
        self.pairs_scored = Metrics.counter(self.NAMESPACE, "pairs_scored")
        self.partial_pairs = Metrics.counter(self.NAMESPACE, "partial_pairs")
        names = ("repeats", "zero_weight", "decayed", "of_limited_users")
        self._left_out = {name: Metrics.counter(self.NAMESPACE, name) for name in names}

    def left_out(self, counts: Mapping[str, int]) -> None:
        """Count the interactions that were left out, by the name of the rule."""
        for name, counter in self._left_out.items():
            counter.inc(counts[name])

    def ranked(self, rows: int, pairs: int) -> None:
        """Count ranked rows and their pairs, and report them to the progress display."""
        self.item_rows.inc(rows)
        self.pairs_scored.inc(pairs)
        progress.advance("items ranked", rows)
