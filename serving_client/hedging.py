"""Decide when to send a second copy of a slow request (a hedge), and whether the budget allows it.

The client sends the hedge and cancels the slower request. This module only decides. It follows Dean and Barroso 2013,
"The Tail at Scale", Communications of the ACM 56(2): send the copy after the time that most requests take. The extra
load is then the share of requests that take longer.

A slow replica must not set the delay. If one of three replicas takes 500 ms, the p95 of all latencies is 500 ms, and a
hedge after 500 ms does not help. So each endpoint has its own window, and the delay is the lower quartile of the
endpoints' quantiles. Up to three quarters of the endpoints may be slow, and one very fast endpoint does not set it.

When all replicas slow down together, every request looks late. So a budget limits hedges to `ratio` of the calls. With
balancing off, nothing routes around a slow replica, and its share of the calls is hedged. `ratio` must be above that
share.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import math
import threading

from serving_client.budget import Budget

__all__ = ["Hedge", "HedgeBudget", "HedgeDelay"]

WINDOW = 1000
"""Latencies that are kept, over all endpoints."""
ENDPOINT_WINDOW = 50
"""Latencies that are kept per endpoint at least, however many endpoints there are."""
ENOUGH = 20
"""Latencies that an endpoint needs before its quantile is used: one in 20 lies above the p95."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hedge:
    """How a client hedges.

    Args:
        after_s: Seconds until the second request is sent. None uses the `quantile` of recent latencies.
        quantile: Between 0 and 1, exclusive. About 1 - quantile of the calls are hedged in normal operation.
        ratio: Hedges as a share of the calls, at most. It must be above 1 - quantile, so that tokens are left when an
            endpoint turns slow. Together with `Balance.probe_ratio` it should stay below 5%.
        burst: Hedges allowed beyond that share.

    Raises:
        ValueError: A value is out of its range.
    """

    after_s: float | None = None
    quantile: float = 0.98
    ratio: float = 0.04
    burst: float = 10

    def __post_init__(self) -> None:
        if self.after_s is not None and not (self.after_s >= 0.0 and math.isfinite(self.after_s)):
            raise ValueError(f"after_s must be None or a finite number of seconds of at least 0, got {self.after_s}")
        if not 0.0 < self.quantile < 1.0:
            raise ValueError(f"quantile must be between 0 and 1, got {self.quantile}")
        Budget(self.ratio, self.burst)  # raises if either is out of its range


class HedgeBudget(Budget):
    """The budget of one client: `deposit()` per call, `withdraw()` when the delay is over and a hedge is due."""

    __slots__ = ()

    def __init__(self, config: Hedge) -> None:
        super().__init__(config.ratio, config.burst)


class HedgeDelay:
    """Learns the delay from the latencies of single attempts. Thread-safe.

    Cancelled attempts must be observed too, with the time until they were cancelled. That time is longer than the
    delay, so it stays above the quantile. Without it the delay would fall with each cancellation. Failed attempts are
    not observed, because a refused connection is fast.

    Args:
        config: How to hedge.
        endpoints: Number of endpoints, at least 1.
    """

    def __init__(self, config: Hedge, endpoints: int) -> None:
        if endpoints < 1:
            raise ValueError(f"a hedge delay needs at least one endpoint, got endpoints={endpoints}")
        self._quantile = config.quantile
        self._fixed = config.after_s is not None
        self._delay_s = config.after_s
        self._width = max(ENDPOINT_WINDOW, math.ceil(WINDOW / endpoints))
        self._windows = [_Window() for _ in range(endpoints)]
        self._unread = 0
        self._lock = threading.Lock()

    def delay_s(self) -> float | None:
        """Return the seconds after which a hedge is due, or None while too few latencies are known."""
        return self._delay_s

    def observe(self, index: int, latency_s: float) -> None:
        """Add the latency of an attempt that was answered or cancelled.

        Args:
            index: Endpoint of the attempt.
            latency_s: Seconds until the answer or the cancellation.
        """
        if self._fixed:
            return
        with self._lock:
            self._windows[index].add(latency_s, self._width)
            self._unread += 1
            # Sorting n endpoints once per n latencies costs little per latency, however many there are.
            if self._delay_s is None or self._unread >= len(self._windows):
                self._unread = 0
                self._delay_s = self._learned_s()

    def _learned_s(self) -> float | None:
        known = sorted(window.quantile(self._quantile) for window in self._windows if len(window.ordered) >= ENOUGH)
        return known[(len(known) - 1) // 4] if known else None


class _Window:
    """The last latencies of one endpoint, in order of arrival and of size."""

    __slots__ = ("arrived", "ordered")

    def __init__(self) -> None:
        self.arrived: collections.deque[float] = collections.deque()
        self.ordered: list[float] = []

    def add(self, latency_s: float, width: int) -> None:
        if len(self.arrived) >= width:
            del self.ordered[bisect.bisect_left(self.ordered, self.arrived.popleft())]
        self.arrived.append(latency_s)
        bisect.insort(self.ordered, latency_s)

    def quantile(self, share: float) -> float:
        """Return the lowest latency that at least `share` of the window does not exceed."""
        return self.ordered[max(0, math.ceil(share * len(self.ordered)) - 1)]
