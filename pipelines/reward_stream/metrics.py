"""The counters that reward_stream adds to Beam's own."""

from __future__ import annotations

from collections.abc import Mapping

from apache_beam.metrics import Metrics

from transforms import progress

__all__ = ["RewardStreamMetrics"]


class RewardStreamMetrics:
    """Namespace `reward_stream`.

    records_read: lines of both sources, blank ones not counted. records_malformed: those that could not be parsed.
    outcome_NAME: records with that outcome, net of corrections upwards (a correction never lowers a Beam counter).
    dead_letters_written: records kept with a reason. snapshots_published: versions over all bandits.
    publish_failures: times a destination refused. sequence_repeats: blocks that a shard saw twice (a runner's retry).
    state_rebuilds: times a shard's or the publisher's cache was rebuilt from state. event_time_lag_ms (gauge): clock at
    the last tick minus the watermark. open_decisions, open_rewards (gauges): records held by all shards.
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
        """Note lines read, for the counters and for whoever watches."""
        self.records_read.inc(records)
        self.records_malformed.inc(malformed)
        progress.advance("records read", records)

    def outcomes(self, counts: Mapping[str, int]) -> None:
        """Note outcomes of records; only increases."""
        for outcome, count in sorted(counts.items()):
            if count > 0:
                Metrics.counter(self.NAMESPACE, f"outcome_{outcome}").inc(count)
