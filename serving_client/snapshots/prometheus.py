"""The age of snapshots as Prometheus metrics. This needs the extra `prometheus`.

    REGISTRY.register(SnapshotCollector(follower.status))

The values are read when Prometheus asks, so an age grows while the background thread hangs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, get_args

from serving_client.extras import require
from serving_client.snapshots.follow import Followed, Rung

__all__ = ["SnapshotCollector"]


class SnapshotCollector:
    """A collector for a registry of prometheus_client.

    Args:
        status: `SnapshotFollower.status`.

    Raises:
        MissingExtra: prometheus_client is not installed.
    """

    def __init__(self, status: Callable[[], Iterable[Followed]]) -> None:
        self._status = status
        self._gauge = require("prometheus_client.core", "prometheus").GaugeMetricFamily

    def collect(self) -> Iterator[Any]:
        """Yield the metrics as they are now."""
        version, age, answered = (
            self._gauge(f"serving_client_snapshot_{name}", text, labels=["bandit"])
            for name, text in (
                ("version", "Version of the newest snapshot."),
                ("age_seconds", "Seconds since the newest snapshot was published."),
                ("answered_seconds", "Seconds since the store last gave a usable answer."),
            )
        )
        rung = self._gauge("serving_client_snapshot_rung", "1 at the bandit's rung.", labels=["bandit", "rung"])
        for one in self._status():
            for gauge, value in ((version, one.version), (age, one.age_s), (answered, one.answered_s)):
                if value is not None:
                    gauge.add_metric([one.bandit_id], value)
            for name in get_args(Rung):
                rung.add_metric([one.bandit_id, name], float(name == one.rung))
        yield from (version, age, answered, rung)
