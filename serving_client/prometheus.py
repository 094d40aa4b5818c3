"""Calls, attempts and fallbacks as Prometheus metrics. This needs the extra `prometheus`.

    client = Client("localhost:8500", model="cf", observers=[PrometheusObserver()])

    serving_client_call_seconds      histogram of whole calls, by method, model, rung and code (gRPC's, as in "OK")
    serving_client_attempt_seconds   histogram of requests sent, by method, target and code
    serving_client_attempts_total    requests sent, by method, model, target, code and kind: first, retry or hedge
    serving_client_errors_total      calls that raised, by method, model and error (class of serving_client.errors)
    serving_client_not_found_total   rungs of a Fallback whose model the server does not have, by rung

A Fallback's calls have the method "Fallback" and the rung that answered. The version is not a label, because a new one
is published every night and a series never goes away.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from serving_client.extras import require
from serving_client.observing import Attempt, Call

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Histogram

__all__ = ["BUCKETS_S", "PrometheusObserver"]

BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Upper bounds in seconds. A loopback call takes 0.7 ms, and a page waits for about a second at most."""


class PrometheusObserver:
    """An observer for any number of clients and fallbacks, blocking or asynchronous.

    Args:
        registry: Registry of the metrics. By default prometheus_client's own. Observers of one registry share it.

    Raises:
        MissingExtra: prometheus_client is not installed.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        library = require("prometheus_client", "prometheus")
        self._metrics = _metrics_of(library.REGISTRY if registry is None else registry)

    def attempt(self, attempt: Attempt, /) -> None:
        """Count one request that was sent."""
        kind = "hedge" if attempt.hedged else "first" if attempt.number == 1 else "retry"
        metrics = self._metrics
        metrics.attempts.labels(attempt.method, attempt.model, attempt.target, attempt.code, kind).inc()
        metrics.attempt_seconds.labels(attempt.method, attempt.target, attempt.code).observe(attempt.seconds)

    def call(self, call: Call, /) -> None:
        """Count one call of a client or a fallback."""
        metrics = self._metrics
        metrics.call_seconds.labels(call.method, call.model, call.rung, call.code).observe(call.seconds)
        if call.error:
            metrics.errors.labels(call.method, call.model, call.error).inc()
        for rung in call.not_found:
            metrics.not_found.labels(rung).inc()


class _Metrics:
    """The registered metrics. prometheus_client allows each name once per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        library = require("prometheus_client", "prometheus")
        self.call_seconds: Histogram = library.Histogram(
            "serving_client_call_seconds",
            "Whole calls, retries and hedges included.",
            ("method", "model", "rung", "code"),
            buckets=BUCKETS_S,
            registry=registry,
        )
        self.attempt_seconds: Histogram = library.Histogram(
            "serving_client_attempt_seconds",
            "Requests sent to one server.",
            ("method", "target", "code"),
            buckets=BUCKETS_S,
            registry=registry,
        )
        self.attempts: Counter = library.Counter(
            "serving_client_attempts_total",
            "Requests sent: first of its call, retry or hedge.",
            ("method", "model", "target", "code", "kind"),
            registry=registry,
        )
        self.errors: Counter = library.Counter(
            "serving_client_errors_total",
            "Calls that raised, by class of the error.",
            ("method", "model", "error"),
            registry=registry,
        )
        self.not_found: Counter = library.Counter(
            "serving_client_not_found_total",
            "Calls of a Fallback whose rung failed because its model does not exist.",
            ("rung",),
            registry=registry,
        )


_LOCK = threading.Lock()
_BY_REGISTRY: weakref.WeakKeyDictionary[CollectorRegistry, _Metrics] = weakref.WeakKeyDictionary()


def _metrics_of(registry: CollectorRegistry) -> _Metrics:
    with _LOCK:
        metrics = _BY_REGISTRY.get(registry)
        if metrics is None:
            metrics = _BY_REGISTRY[registry] = _Metrics(registry)
        return metrics
