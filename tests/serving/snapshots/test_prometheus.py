"""The metrics of a router's snapshots."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from serving_client.snapshots.follow import Followed
from serving_client.snapshots.prometheus import SnapshotCollector


def test_ages_versions_and_rungs_are_read_when_prometheus_asks() -> None:
    status = [Followed("a", "default", None, None, None)]
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(lambda: status))
    status[:] = [Followed("a", "last_good", 7, 130.0, 4.0), Followed("b", "default", None, None, None)]
    found = {(one.name, *one.labels.values()): one.value for metric in registry.collect() for one in metric.samples}
    assert found == {
        ("serving_client_snapshot_version", "a"): 7,
        ("serving_client_snapshot_age_seconds", "a"): 130,
        ("serving_client_snapshot_answered_seconds", "a"): 4,
        **{("serving_client_snapshot_rung", "a", rung): 0 for rung in ("fresh", "disk", "default")},
        ("serving_client_snapshot_rung", "a", "last_good"): 1,
        **{("serving_client_snapshot_rung", "b", rung): 0 for rung in ("fresh", "last_good", "disk")},
        ("serving_client_snapshot_rung", "b", "default"): 1,
    }
