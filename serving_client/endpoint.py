"""The state of one endpoint: requests in flight, average latency, failures in a row, ejections.

It has no lock and no clock. `balancing` has both and explains how the numbers are used.
"""

from __future__ import annotations

import math

__all__ = ["FAILED_FACTOR", "LONGEST_S", "UNKNOWN_S", "Endpoint"]

UNKNOWN_S = 1.0
"""Assumed latency of an endpoint until its first answer, if it already has a request in flight."""
LONGEST_S = 3600.0
"""Upper bound of an average, because each failure multiplies it."""
FAILED_FACTOR = 3.0
"""A failure counts as this many times the average. One failure raises the average to 1.4 times, still `similar`."""


class Endpoint:
    """The state of one endpoint. Times are seconds of the owner's clock."""

    __slots__ = (
        "due_at",
        "ejected",
        "ejected_at",
        "ejections",
        "failures",
        "in_flight",
        "latency_s",
        "readmitted_at",
        "samples",
        "slow",
        "updated_at",
    )

    def __init__(self) -> None:
        self.in_flight = 0
        self.latency_s = 0.0  # EWMA; 0.0 while samples is 0
        self.samples = 0
        self.updated_at = 0.0
        self.failures = 0  # in a row
        self.slow = 0  # in a row
        self.ejected = False
        self.ejected_at = -math.inf
        self.due_at = 0.0  # of the next probe, while ejected
        self.ejections = 0  # in succession
        self.readmitted_at = 0.0

    def load(self, similar_s: float, memory_s: float, now: float) -> float:
        """Return the load of one more request, in requests to an endpoint of usual speed.

        Args:
            similar_s: Averages up to this many seconds are usual. 0.0 if none is known.
            memory_s: Time constant in seconds with which an average fades that no request renews.
            now: Time of the owner's clock in seconds.
        """
        in_flight, latency_s = self.in_flight, self.latency_s
        if not self.samples:
            if not in_flight:
                return 0.0  # one request measures the endpoint
            latency_s = UNKNOWN_S
        if latency_s <= similar_s or not similar_s:
            return in_flight + 1.0
        faded = math.exp((self.updated_at - now) / memory_s) if self.samples else 1.0
        return (in_flight + 1.0) * max(1.0, latency_s * faded / similar_s)

    def learn(
        self, latency_s: float, failed: bool, unfinished: bool, smoothing: float, memory_s: float, now: float
    ) -> None:
        """Add the latency of an attempt to the average. The older the average is, the less it weighs.

        Args:
            latency_s: Seconds of the attempt.
            failed: Whether the attempt failed.
            unfinished: Whether the attempt was given up before its answer.
            smoothing: Weight of a new latency, in (0, 1].
            memory_s: Seconds in which an average that no request renews fades.
            now: Time of the owner's clock in seconds.
        """
        if failed:
            latency_s = max(latency_s, FAILED_FACTOR * (self.latency_s or UNKNOWN_S))
        elif unfinished:
            latency_s = max(2.0 * latency_s, self.latency_s)
        if self.samples:
            kept = (1.0 - smoothing) * math.exp((self.updated_at - now) / memory_s)
            latency_s += kept * (self.latency_s - latency_s)
        self.latency_s = min(latency_s, LONGEST_S)
        self.samples += 1
        self.updated_at = now

    def readmit(self, now: float) -> None:
        """Take the endpoint back into use. Its average is dropped, because it is from before the ejection."""
        self.ejected = False
        self.readmitted_at = now
        self.failures = self.slow = self.samples = 0
        self.latency_s = 0.0
