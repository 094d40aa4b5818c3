"""Choose the endpoint of the next request, and eject endpoints that fail or are slow.

1. Least load. The load of an endpoint is (requests in flight + 1) × max(1, average latency / usual latency). The
   average is an EWMA. The usual latency is `similar` × the lower quartile of all averages. The lowest load wins, and
   equal loads are drawn at random.

   The factor is 1 for endpoints of usual speed. Their averages differ only by their queues, which the number in flight
   already counts. Counting a queue twice sends all requests to one endpoint until its queue is the longest, then all
   to the next (simulated at 80% load: a p50 of 831 ms; round robin 5 ms; this rule 3.5 ms).

   Among more than SCANNED endpoints, only SCANNED are drawn and compared. Two would do if most endpoints are healthy
   (Mitzenmacher 2001, "The Power of Two Choices in Randomized Load Balancing"; Finagle's `p2c_peak_ewma`). Eight find
   a healthy one 98 times of 100 when six of ten endpoints are slow.

   An average fades with `memory_s` while no request renews it. So a slow endpoint gets another request after about
   memory_s × ln(how many times slower), which is too rare to affect the p99. A failure counts as three times the
   average, so that fast refusals do not look like speed. An endpoint that hangs keeps its requests in flight, so its
   load stays high.
2. Ejection, as in Envoy's outlier detection. An endpoint is ejected after `failures` failures or `slow` slow answers in
   a row. An answer is slow if it takes more than `slow_factor` times the median of the other endpoints, and more than
   `slow_margin_s` longer. Its time is first divided by the number of requests that shared the endpoint. An ejection
   lasts `eject_s`, then twice as long each time, up to `max_eject_s`. At most the share `max_ejected` of the endpoints
   is ejected, because a failure of most endpoints is more likely the fault of the network or of the request. Least load
   alone would still send requests to a slow endpoint when many requests are in flight.
3. Probes. After an ejection the endpoint gets one request. It returns if the request succeeds. Probes are at most the
   share `probe_ratio` of the calls. If calls are too rare for that, one probe is sent after another `max_eject_s`.
   Probes are real calls, and first attempts only.

A request that was cancelled before its answer counts as twice its time: the mean of the times above t in a Pareto tail
of index 2. Examples are the slower request of a hedge, or one that reached its deadline. Such a request counts as slow
without `slow_margin_s`, because each one has already cost a hedge.
"""

from __future__ import annotations

import dataclasses
import math
import random
import threading
import time
from collections.abc import Callable, Collection
from typing import Literal

from serving_client.endpoint import Endpoint
from serving_client.errors import (
    BadResponse,
    Cancelled,
    CircuitOpen,
    ClientClosed,
    DeadlineExceeded,
    NotFound,
    NotReady,
    Overloaded,
    ServerFault,
    ServingError,
    Unauthorized,
    Unavailable,
)

__all__ = ["Balance", "Endpoints", "is_failure", "is_unfinished"]

SCANNED = 8
"""Endpoints whose loads are compared for a pick, about 0.4 µs each."""
KNOWN = 3
"""Answers that an endpoint needs before other endpoints are compared with it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Balance:
    """How a client spreads its requests over its endpoints.

    Args:
        policy: "least_loaded" as described in the module, or "round_robin", which takes turns and ejects nothing.
        smoothing: Weight of a new latency in the average, in (0, 1].
        memory_s: Seconds in which an average that no request renews fades.
        similar: Averages within this factor of the lower quartile count as equal. At least 1.
        failures: Failures in a row after which an endpoint is ejected.
        slow: Slow answers in a row after which an endpoint is ejected.
        slow_factor: An answer is slow above this factor times the median of the other endpoints. Above 1.
        slow_margin_s: An answer is slow only if it also takes this many seconds more than the median.
        eject_s: Seconds of the first ejection. Each following ejection lasts twice as long.
        max_eject_s: Longest ejection in seconds.
        max_ejected: Share of the endpoints that may be ejected at a time, from 0 (no ejection) to 0.5, rounded down.
        probe_ratio: Share of the calls that may go to endpoints whose ejection is over, in (0, 1].

    Raises:
        ValueError: A value is out of its range.
    """

    policy: Literal["least_loaded", "round_robin"] = "least_loaded"
    smoothing: float = 0.2
    memory_s: float = 5.0
    similar: float = 2.0
    failures: int = 5
    slow: int = 5
    slow_factor: float = 3.0
    slow_margin_s: float = 0.01
    eject_s: float = 1.0
    max_eject_s: float = 30.0
    max_ejected: float = 0.5
    probe_ratio: float = 0.005

    def __post_init__(self) -> None:
        if self.policy not in ("least_loaded", "round_robin"):
            raise ValueError(f'policy must be "least_loaded" or "round_robin", got {self.policy!r}')
        for name, fits, range_ in (
            ("smoothing", 0.0 < self.smoothing <= 1.0, "above 0 and at most 1"),
            ("memory_s", self.memory_s > 0.0, "above 0 seconds"),
            ("similar", self.similar >= 1.0, "at least 1"),
            ("failures", self.failures >= 1, "at least 1"),
            ("slow", self.slow >= 1, "at least 1"),
            ("slow_factor", self.slow_factor > 1.0, "above 1"),
            ("slow_margin_s", self.slow_margin_s >= 0.0, "at least 0 seconds"),
            ("eject_s", 0.0 < self.eject_s <= self.max_eject_s, "above 0 seconds and at most max_eject_s"),
            ("max_ejected", 0.0 <= self.max_ejected <= 0.5, "between 0 and 0.5"),
            ("probe_ratio", 0.0 < self.probe_ratio <= 1.0, "above 0 and at most 1"),
        ):
            if not fits:
                raise ValueError(f"{name} must be {range_}, got {getattr(self, name)}")


def is_failure(error: ServingError | None) -> bool:
    """Return whether an attempt with this outcome counts against its endpoint.

    NotFound and NotReady count, because another replica may have the model. Wrong requests do not.

    Args:
        error: Error of the attempt, or None if it was answered.
    """
    return isinstance(
        error, Unavailable | Overloaded | ServerFault | BadResponse | NotFound | NotReady | Unauthorized
    ) and not isinstance(error, CircuitOpen)


def is_unfinished(error: ServingError | None) -> bool:
    """Return whether an attempt with this outcome was given up before its answer.

    A caller's own short timeout must not count as a failure. An endpoint that hangs shows by its latencies.

    Args:
        error: Error of the attempt, or None if it was answered.
    """
    return isinstance(error, DeadlineExceeded | Cancelled | ClientClosed)


class Endpoints:
    """The endpoints 0 .. count - 1 of one client. Thread-safe within one process.

    For each attempt call `index = pick(tried)` and `begin(index)`, and afterwards always `finish(index, ...)`.

    Args:
        count: Number of endpoints, at least 1.
        config: How to balance.
        clock: Monotonic time in seconds.
        draw: Source of random numbers, uniform in [0, 1).

    Raises:
        ValueError: The count is below 1.
    """

    def __init__(
        self,
        count: int,
        config: Balance,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        if count < 1:
            raise ValueError(f"a client needs at least one endpoint, got count={count}")
        self._config, self._clock, self._draw = config, clock, draw
        self._all = [Endpoint() for _ in range(count)]
        self._available = list(range(count))  # not ejected
        self._most_ejected = math.floor(count * config.max_ejected)
        self._probe_every = math.ceil(1.0 / config.probe_ratio)
        self._since_probe = self._probe_every  # first attempts picked; the first probe need not wait
        self._due_at = math.inf  # time of the next probe of any ejected endpoint
        self._turn = int(draw() * count)  # clients that start together do not all begin at the first endpoint
        self._usual_s = 0.0  # lower quartile of the averages, recomputed every `count` answers
        self._unread = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._all)

    @property
    def ejected(self) -> frozenset[int]:
        """Indices of the endpoints that are ejected now."""
        with self._lock:
            return frozenset(self._ejected())

    def pick(self, exclude: Collection[int] = ()) -> int:
        """Return the index of the endpoint for the next attempt.

        Args:
            exclude: Endpoints that this call has tried (tested with `in`). Only a first attempt may be a probe. If no
                other endpoint is left, an ejected one that is not excluded is chosen, else one that is excluded.
        """
        if len(self._all) == 1:
            return 0
        with self._lock:
            if self._config.policy == "round_robin":
                return self._next_in_turn(exclude)
            now = self._clock()
            if not exclude and len(self._available) < len(self._all):
                self._since_probe += 1
                probe = self._probe(now)
                if probe is not None:
                    return probe
            candidates = self._available
            if exclude:
                candidates = [index for index in candidates if index not in exclude]
                if not candidates:
                    candidates = [index for index in range(len(self._all)) if index not in exclude]
                candidates = candidates or self._available
            return self._least_loaded(candidates, now)

    def begin(self, index: int) -> None:
        """Count an attempt that is about to be sent.

        Args:
            index: Endpoint of the attempt.
        """
        with self._lock:
            self._all[index].in_flight += 1

    def finish(self, index: int, latency_s: float, failed: bool = False, *, unfinished: bool = False) -> None:
        """Record the end of an attempt.

        Args:
            index: Endpoint of the attempt.
            latency_s: Seconds since the attempt was sent.
            failed: Whether the attempt counts against the endpoint. See `is_failure`.
            unfinished: Whether the attempt was given up before its answer. See `is_unfinished`.
        """
        config = self._config
        with self._lock:
            endpoint = self._all[index]
            shared = endpoint.in_flight
            endpoint.in_flight -= 1
            if config.policy == "round_robin" or len(self._all) == 1:
                return
            now = self._clock()
            # The requests of this client share the endpoint's time. Without the division a burst would eject a busy
            # endpoint, its load would move to the others, and they would be ejected next.
            slow = not failed and self._is_slow(index, latency_s / shared if shared > 1 else latency_s, unfinished)
            if endpoint.ejected:
                # A request from before the ejection does not show whether the endpoint has recovered.
                if now - latency_s >= endpoint.ejected_at:
                    if failed or slow:
                        self._eject(index, now)
                    elif not unfinished:
                        self._readmit(index, now)
            else:
                if not (unfinished and not slow):  # cancelled early: neither a success nor a failure
                    endpoint.failures = endpoint.failures + 1 if failed else 0
                    endpoint.slow = endpoint.slow + 1 if slow else 0
                if endpoint.failures >= config.failures or endpoint.slow >= config.slow:
                    self._eject(index, now)
            endpoint.learn(latency_s, failed, unfinished, config.smoothing, config.memory_s, now)
            self._compare()

    def _next_in_turn(self, exclude: Collection[int]) -> int:
        count = len(self._all)
        for step in range(count):
            index = (self._turn + step) % count
            if index not in exclude:
                self._turn = index + 1
                return index
        self._turn += 1
        return (self._turn - 1) % count

    def _probe(self, now: float) -> int | None:
        """Return the ejected endpoint that has been due for the longest, or None if no probe may be sent now."""
        late_s = now - self._due_at
        if late_s < 0.0 or (self._since_probe < self._probe_every and late_s < self._config.max_eject_s):
            return None
        self._since_probe = 0
        index = min(self._ejected(), key=lambda ejected: self._all[ejected].due_at)
        # Set the next probe now, because the result of this one may never be reported.
        self._wait(index, now)
        return index

    def _least_loaded(self, candidates: list[int], now: float) -> int:
        count = len(candidates)
        if count == 1:
            return candidates[0]
        if count > SCANNED:
            candidates = [candidates[int(self._draw() * count)] for _ in range(SCANNED)]
        similar_s, memory_s = self._usual_s * self._config.similar, self._config.memory_s
        loads = [self._all[index].load(similar_s, memory_s, now) for index in candidates]
        least = min(loads)
        if loads.count(least) == 1:
            return candidates[loads.index(least)]
        near = [index for index, load in zip(candidates, loads, strict=True) if load == least]
        return near[int(self._draw() * len(near))]

    def _is_slow(self, index: int, latency_s: float, unfinished: bool) -> bool:
        factor = self._config.slow_factor
        if latency_s <= factor * self._usual_s:  # fast path: the median of the others is not lower
            return False
        others = sorted(
            other.latency_s for at, other in enumerate(self._all) if at != index and other.samples >= KNOWN
        )  # fmt: skip
        if not others:
            return False
        median_s = others[(len(others) - 1) // 2]
        margin_s = 0.0 if unfinished else self._config.slow_margin_s
        return latency_s > max(factor * median_s, median_s + margin_s)

    def _compare(self) -> None:
        """Recompute the usual latency once per n answers, so that sorting n averages costs little per answer."""
        self._unread += 1
        if self._unread >= len(self._all) or not self._usual_s:
            self._unread = 0
            averages = sorted(endpoint.latency_s for endpoint in self._all if endpoint.samples)
            self._usual_s = averages[(len(averages) - 1) // 4]

    def _ejected(self) -> list[int]:
        return [index for index, endpoint in enumerate(self._all) if endpoint.ejected]

    def _wait(self, index: int, now: float) -> None:
        """Set the time of the next probe of an ejected endpoint."""
        endpoint = self._all[index]
        wait_s = self._config.eject_s * 2.0 ** min(endpoint.ejections - 1, 64)
        endpoint.due_at = now + min(self._config.max_eject_s, wait_s)
        self._due_at = min(self._all[ejected].due_at for ejected in self._ejected())

    def _eject(self, index: int, now: float) -> None:
        endpoint = self._all[index]
        if not endpoint.ejected:
            if len(self._all) - len(self._available) >= self._most_ejected:
                return
            if now - endpoint.readmitted_at > self._config.max_eject_s:
                endpoint.ejections = 0  # it was healthy for long, so start again with the shortest ejection
            self._available.remove(index)
        endpoint.ejected = True
        endpoint.ejections += 1
        endpoint.ejected_at = now
        self._wait(index, now)

    def _readmit(self, index: int, now: float) -> None:
        self._all[index].readmit(now)
        self._available.append(index)
        self._due_at = min((self._all[ejected].due_at for ejected in self._ejected()), default=math.inf)
