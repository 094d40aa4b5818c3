"""Which endpoint gets the next request, and which get none for a while?

Three mechanisms, each for what the others do not see:

1. Least load: the fewest requests in flight, at random among equals, (in flight + 1) × max(1, EWMA of the latency /
   (`similar` × its lower quartile over the endpoints)). The factor is 1 for endpoints that are about as fast as most:
   their averages differ by the length of their queues, which the count has already, and counting it twice sends all
   requests to one endpoint until its queue is the longest, then all to the next (simulated at 80% load: a p50 of
   831 ms, where round robin has 5 and this rule 3.5). It grows for one that is slow, and takes it out of use for all
   but full queues elsewhere. Of more than SCANNED endpoints only so many are drawn and compared (Mitzenmacher 2001,
   "The Power of Two Choices in Randomized Load Balancing": two would do where most are well; Finagle pairs that with
   a latency average, `p2c_peak_ewma`; eight still find a healthy one, 98 times of 100, when six of ten are slow). An
   endpoint that hangs is left alone because its requests stay in flight. An average fades with `memory_s` while no
   request renews it, so a slow endpoint is asked again after about memory_s × ln(how many times slower), seldom
   enough to stay out of the 99% point. A failure counts as three times the average: fast refusals must not look like
   speed.
2. Ejection, after Envoy's outlier detection: `failures` failures in a row, or `slow` slow answers in a row (slower
   than `slow_factor` times the median of the other endpoints, and by `slow_margin_s`, after division by the requests
   that shared the time), take an endpoint out for `eject_s`, twice as long each time, up to `max_eject_s`. Load alone
   would still give a slow endpoint its share where many requests are in flight. Never more than `max_ejected` of the
   endpoints: what looks like most of them failing is more likely the network, or the request.
3. Probes. When its time is over an ejected endpoint gets a single request, of at most `probe_ratio` of the calls, and
   comes back if that is answered well. Where calls are so few that this ratio says never, one is sent all the
   same once max_eject_s have passed again. Probes are real calls, and first attempts only.

A request cancelled before its answer (the loser of a hedge, or one whose time was over) is known only to take longer
than it did: it counts as twice that time, the mean of what survives time t under a Pareto tail of index 2. It counts
as slow without `slow_margin_s`: where hedges are sent, each of these requests has cost one.
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
"""Answers of an endpoint without which it is no measure for the others."""


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
        self._due_at = math.inf  # the earliest of the ejected
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
            # A queue of our own making is no fault of the endpoint. Undivided, a burst gets a busy endpoint ejected,
            # the others take its load, and are ejected next.
            slow = not failed and self._is_slow(index, latency_s / shared if shared > 1 else latency_s, unfinished)
            if endpoint.ejected:
                # What was sent before the ejection says nothing about a recovery.
                if now - latency_s >= endpoint.ejected_at:
                    if failed or slow:
                        self._eject(index, now)
                    elif not unfinished:
                        self._readmit(index, now)
            else:
                if not (unfinished and not slow):  # given up early: says neither good nor bad
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
        # The next one is due a whole period later, also if nobody ever tells how this one ended.
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
        if latency_s <= factor * self._usual_s:  # the median of the others is not below: most end here
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
        """Recompute the usual latency once per n answers, which makes sorting n averages cheap per answer."""
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
                endpoint.ejections = 0  # it was back for long: this is another story
            self._available.remove(index)
        endpoint.ejected = True
        endpoint.ejections += 1
        endpoint.ejected_at = now
        self._wait(index, now)

    def _readmit(self, index: int, now: float) -> None:
        self._all[index].readmit(now)
        self._available.append(index)
        self._due_at = min((self._all[ejected].due_at for ejected in self._ejected()), default=math.inf)
