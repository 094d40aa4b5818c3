"""A router's counts as Prometheus metrics. This needs the extra `prometheus`.

    register(router)                                     # with prometheus_client's own registry

    recbeam_router_decisions_total                       decisions by bandit, arm and rung
    recbeam_router_fallbacks_total                       decisions that did not show the drawn arm, by reason
    recbeam_router_probabilities_computed_total          requests that had to compute probabilities, by bandit
    recbeam_router_faults_total                          faults that reached no request, by bandit and reason
    recbeam_router_rewards_rejected_total                rewards that were forged or invalid
    recbeam_router_log_lines_lost_total                  lines that a log lost, by kind and reason
    recbeam_router_snapshot_version                      version of the snapshot, by bandit
    recbeam_router_snapshot_age_seconds                  age of the snapshot, by bandit
    recbeam_router_snapshot_answered_seconds             time since the store last gave a usable answer, by bandit

The metrics are read from the router when they are collected, so a request does nothing for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from serving_client.extras import require
from serving_client.router.router import Router

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

__all__ = ["RouterCollector", "register"]

_PREFIX = "recbeam_router_"


def register(router: Router, registry: CollectorRegistry | None = None) -> None:
    """Export the metrics of a router. A registry takes one router.

    Args:
        router: The router.
        registry: Registry of the metrics. By default prometheus_client's own.

    Raises:
        MissingExtra: prometheus_client is not installed.
    """
    library = require("prometheus_client", "prometheus")
    (library.REGISTRY if registry is None else registry).register(RouterCollector(router))


class RouterCollector:
    """A collector for prometheus_client's registries.

    Args:
        router: The router.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._core: Any = require("prometheus_client.core", "prometheus")

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        counts = self._router.counts()
        yield self._counter("decisions", "Decisions.", ("bandit", "arm", "rung"), counts.decisions)
        yield self._counter(
            "fallbacks", "Decisions that did not show the drawn arm.", ("bandit", "arm", "reason"), counts.fallbacks
        )
        yield self._counter(
            "probabilities_computed",
            "Requests that had to compute probabilities.",
            ("bandit",),
            {(bandit_id,): number for bandit_id, number in counts.computed.items()},
        )
        yield self._counter("faults", "Faults that reached no request.", ("bandit", "reason"), counts.faults)
        yield self._counter(
            "rewards_rejected",
            "Rewards that were forged or invalid.",
            ("reason",),
            {(reason,): number for reason, number in counts.rejected.items()},
        )
        yield self._counter("log_lines_lost", "Lines that a log lost.", ("kind", "reason"), counts.lost)
        followed = counts.followed
        yield self._gauge("snapshot_version", "Version of the snapshot.", ((f.bandit_id, f.version) for f in followed))
        yield self._gauge("snapshot_age_seconds", "Age of the snapshot.", ((f.bandit_id, f.age_s) for f in followed))
        yield self._gauge(
            "snapshot_answered_seconds",
            "Time since the store last gave a usable answer.",
            ((f.bandit_id, f.answered_s) for f in followed),
        )

    def _counter(self, name: str, text: str, labels: tuple[str, ...], counts: Mapping[Any, int]) -> Metric:
        metric = self._core.CounterMetricFamily(_PREFIX + name, text, labels=labels)
        for values, number in counts.items():
            metric.add_metric(values, number)
        return cast("Metric", metric)

    def _gauge(self, name: str, text: str, values: Iterable[tuple[str, float | None]]) -> Metric:
        metric = self._core.GaugeMetricFamily(_PREFIX + name, text, labels=("bandit",))
        for bandit_id, value in values:
            if value is not None:
                metric.add_metric((bandit_id,), value)
        return cast("Metric", metric)
