"""Define the counters that reward_stream adds to Beam's own. Prometheus metrics are in `monitoring/prometheus.py`."""

from __future__ import annotations

from collections.abc import Mapping

from apache_beam.metrics import Metrics

from transforms import progress

__all__ = ["RewardStreamMetrics"]


class RewardStreamMetrics:
    """Hold the counters and gauges of the namespace `reward_stream`.

    `records_read`: Lines of both sources, blank ones not counted.
    `records_malformed`: Lines that could not be parsed.
    `outcome_NAME`: Records with that outcome. Only increases count, since a Beam counter cannot be lowered.
    `dead_letters_written`: Records kept with a reason.
    `snapshots_published`: Versions over all bandits.
    `publish_failures`: Failed writes to a destination.
    `sequence_repeats`: Blocks that a shard received twice (a runner's retry).
    `state_rebuilds`: How often a shard's or the publisher's cache was rebuilt from state.
    `event_time_lag_ms` (gauge): Clock at the last tick minus the watermark, milliseconds.
    `open_decisions`, `open_rewards` (gauges): Records held by all shards.
    """

    NAMESPACE = "reward_stream"

    def __init__(self) -> None:
        self.records_read = Metrics.counter(self.NAMESPACE, "records_read")
        self.records_malformed = Metrics.counter(self.NAMESPACE, "records_malformed")
        self.dead_letters_written = Metrics.counter(self.NAMESPACE, "dead_letters_written")
        self.snapshots_published = Metrics.counter(self.NAMESPACE, "snapshots_published")
        self.publish_failures = Metrics.counter(self.NAMESPACE, "publish_failures")
        self.sequence_repeats = Metrics.counter(self.NAMESPACE, "sequence_repeats")
        self.state_rebuilds = Metrics.counter(self.NAMESPACE, "state_rebuilds")
        self.event_time_lag_ms = Metrics.gauge(self.NAMESPACE, "event_time_lag_ms")
        self.open_decisions = Metrics.gauge(self.NAMESPACE, "open_decisions")
        self.open_rewards = Metrics.gauge(self.NAMESPACE, "open_rewards")

    def read(self, records: int, malformed: int) -> None:
        """Count lines that were read, for the counters and for the progress display."""
        self.records_read.inc(records)
        self.records_malformed.inc(malformed)
        progress.advance("records read", records)

    def outcomes(self, counts: Mapping[str, int]) -> None:
        """Count outcomes of records. Only increases count."""
        for outcome, count in sorted(counts.items()):
            if count > 0:
                Metrics.counter(self.NAMESPACE, f"outcome_{outcome}").inc(count)
