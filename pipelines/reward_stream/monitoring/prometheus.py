"""Export a run's status as Prometheus metrics, served on a port or written to a file for a textfile collector.

Names begin with recbeam_reward_stream_. The alert rules in deploy/prometheus read them. Counters begin at 0 with each
run. The module needs the extra `prometheus`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipelines.reward_stream.monitoring.status import Status
from pipelines.reward_stream.publishing.versions import Written
from pipelines.reward_stream.totals.counters import OUTCOMES, SEGMENTS_OVER_LIMIT
from transforms.extras import require
from transforms.inference.exposure import bandit_e_value

__all__ = ["check_extra", "render", "serve", "write"]

_PREFIX = "recbeam_reward_stream_"
_SERVED: dict[int, Any] = {}
_LOCK = threading.Lock()


def check_extra() -> None:
    """Raise MissingExtra if prometheus_client is not installed."""
    require("prometheus_client", "prometheus")


def render(status: Status, now_us: int) -> bytes:
    """Render the metrics as Prometheus text.

    Args:
        status: Status of the run.
        now_us: The clock, microseconds, for the lag.

    Returns:
        The text.
    """
    return bytes(_client().generate_latest(_registry(status, lambda: now_us)))


def write(path: str, status: Status, now_us: int) -> None:
    """Write the metrics to a local file. Readers see the whole file."""
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    partial.write_bytes(render(status, now_us))
    os.replace(partial, target)


def serve(port: int, status: Status, clock: Callable[[], int]) -> int:
    """Serve the metrics from a thread until the process ends.

    If this process serves the port already, the port now serves this run.

    Args:
        port: The port. 0 chooses a free one.
        status: Status of the run.
        clock: Returns microseconds since 1970.

    Returns:
        The port.

    Raises:
        OSError: Another process uses the port.
    """
    with _LOCK:
        if port in _SERVED:
            server = _SERVED[port]
            server.set_app(_client().make_wsgi_app(_registry(status, clock)))
        else:
            server, _ = _client().start_http_server(port, registry=_registry(status, clock))
            _SERVED[port] = server
        return int(server.server_port)


def _client() -> Any:
    return require("prometheus_client", "prometheus")


def _registry(status: Status, clock: Callable[[], int]) -> Any:
    registry = _client().CollectorRegistry()
    registry.register(_Collector(status, clock))
    return registry


class _Collector:
    """Build the metric families from the status when they are scraped."""

    def __init__(self, status: Status, clock: Callable[[], int]) -> None:
        self._status = status
        self._clock = clock
        self._core: Any = require("prometheus_client.core", "prometheus")

    def collect(self) -> Iterator[Any]:
        status = self._status
        if status.watermark_us is not None:
            lag_s = (self._clock() - status.watermark_us) / 1e6
            yield self._gauge("event_time_lag_seconds", "clock minus watermark", lag_s)
            yield self._gauge("watermark_timestamp_seconds", "maturing watermark", status.watermark_us / 1e6)
        age = self._family("source_age_seconds", "time since the source delivered a record", ["source"])
        for source, heard_us in status.heard_us.items():
            age.add_metric([source], (self._clock() - heard_us) / 1e6)
        yield age
        for name, about, value in (
            ("pending_decisions", "decisions whose window is open", status.pending),
            ("open_decisions", "decisions held by the shards", status.open_decisions),
            ("open_rewards", "rewards held by the shards", status.open_rewards),
            ("unreadable_files", "input files that are set aside until they change", status.files_unreadable),
        ):
            yield self._gauge(name, about, value or 0)
        for name, about, value in (
            ("dead_letters", "records kept as dead letters", status.dead_letters),
            ("records_read", "lines read, without blank lines", status.records_read),
            ("records_malformed", "lines that cannot be parsed or break the schema", status.records_malformed),
            ("publish_failures", "failed attempts to publish, which are repeated", status.publish_failures),
            ("late_files", "files whose records were all late", status.late_files),
            ("reread_files", "files that shrank or changed and were read again as new", status.files_reread),
            ("checkpoints", "checkpoints saved", status.checkpoints),
        ):
            yield self._core.CounterMetricFamily(_PREFIX + name, about, value=value)
        outcomes = self._counter("outcomes", "records by outcome; later corrections only increase it", ["outcome"])
        for outcome in {**dict.fromkeys(OUTCOMES), **status.outcomes}:
            outcomes.add_metric([outcome], status.outcomes[outcome])
        yield outcomes
        yield from self._of_bandits(list(status.versions.values()))

    def _of_bandits(self, versions: list[Written]) -> Iterator[Any]:
        published = self._counter("snapshots_published", "snapshots by bandit", ["bandit"])
        over = self._counter("segments_over_limit", "decisions without a row for their segment", ["bandit"])
        version = self._family("snapshot_version", "the last snapshot", ["bandit"])
        at = self._family("snapshot_published_timestamp_seconds", "when the last snapshot was published", ["bandit"])
        ratio = self._family("exposure_ratio_e_value", "evidence of a sample-ratio mismatch", ["bandit"])
        labels = ["bandit", "arm", "generation"]
        n = self._family("arm_decisions", "matured decisions of `*`", labels)
        mean = self._family("arm_mean_reward", "mean reward of `*`", labels)
        fallbacks = self._family("arm_fallbacks", "decisions that served another arm", labels)
        for written in versions:
            bandit_id, content = written.content.bandit_id, written.content
            published.add_metric([bandit_id], self._status.snapshots[bandit_id])
            version.add_metric([bandit_id], written.version)
            at.add_metric([bandit_id], written.at_us / 1e6)
            over.add_metric([bandit_id], content.counters.get(SEGMENTS_OVER_LIMIT, 0))
            rows = [row for row in content.rows if row["segment"] == "*"]
            if (e_value := bandit_e_value(rows)) is not None:
                ratio.add_metric([bandit_id], e_value)
            for row in rows:
                key = [bandit_id, row["arm_id"], str(row["arm_generation"])]
                n.add_metric(key, row["n"])
                fallbacks.add_metric(key, row["fallbacks"])
                if row["n"]:
                    mean.add_metric(key, row["sum_r"] / row["n"])
        yield from (published, over, version, at, ratio, n, mean, fallbacks)

    def _gauge(self, name: str, about: str, value: float) -> Any:
        return self._core.GaugeMetricFamily(_PREFIX + name, about, value=value)

    def _family(self, name: str, about: str, labels: list[str]) -> Any:
        return self._core.GaugeMetricFamily(_PREFIX + name, about, labels=labels)

    def _counter(self, name: str, about: str, labels: list[str]) -> Any:
        return self._core.CounterMetricFamily(_PREFIX + name, about, labels=labels)
