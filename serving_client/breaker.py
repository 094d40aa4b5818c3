"""Stop calls to a model whose last calls failed. Each rung of a fallback has its own CircuitBreaker.

    closed ── `failures` failures in a row ──> open ── `open_s` later ──> half open
      ^                                         ^                            │
      │                                         └────── a trial fails ───────┤
      └───────────────── `half_open_calls` trials succeed ───────────────────┘

The pattern is from Nygard 2007, "Release It!". The caller decides which errors count as failures.
`balancing.is_failure` and `is_unfinished` select the errors that the server caused, not the request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

__all__ = ["CircuitBreaker", "State"]

State = Literal["closed", "open", "half open"]


class CircuitBreaker:
    """A circuit breaker. Thread-safe.

    Call `allow()` before a call, and `succeeded()`, `failed()` or `gave_up()` after each call that was allowed. Pass on
    what `allow()` returned: then a call from before the last opening or closing is not counted.

    Args:
        failures: Failures in a row that stop calls.
        open_s: Seconds for which no call is let through.
        half_open_calls: Trials that may run at a time after that, and trials that must succeed to close the breaker.
        clock: Monotonic time in seconds.

    Raises:
        ValueError: A value is out of its range.
    """

    def __init__(
        self,
        failures: int = 5,
        open_s: float = 5.0,
        half_open_calls: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if failures < 1 or half_open_calls < 1:
            raise ValueError(
                f"failures and half_open_calls must be at least 1, got failures={failures}, "
                f"half_open_calls={half_open_calls}"
            )
        if not open_s >= 0.0:
            raise ValueError(f"open_s must be at least 0 seconds, got {open_s}")
        self._failures, self._open_s, self._half_open_calls, self._clock = failures, open_s, half_open_calls, clock
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._opened_at: float | None = None  # None: closed
        self._trials = 0  # running, since half open
        self._trial_at = 0.0
        self._passed = 0  # trials that succeeded
        self._period = 1  # counts openings and closings

    @property
    def state(self) -> State:
        """The breaker's state now."""
        with self._lock:
            return self._state(self._clock())

    def allow(self) -> int:
        """Return 0 if the call may not be sent, else a number to report its outcome with.

        In the state "half open" a call that may be sent is a trial.
        """
        if self._opened_at is None:  # a read of one attribute: no lock on the common path
            return self._period
        with self._lock:
            now = self._clock()
            state = self._state(now)
            if state != "half open":
                return self._period if state == "closed" else 0
            if self._trials >= self._half_open_calls and now - self._trial_at < self._open_s:
                return 0
            if self._trials >= self._half_open_calls:
                self._trials = 0  # the last trials were never reported, and must not keep the breaker half open
            self._trials += 1
            self._trial_at = now
            return self._period

    def succeeded(self, allowed: int = 0) -> None:
        """Record that a call was answered.

        Args:
            allowed: What `allow` returned for the call.
        """
        if self._opened_at is None and self._in_a_row == 0:
            return
        with self._lock:
            if allowed not in (0, self._period):
                return
            state = self._state(self._clock())
            if state == "closed":
                self._in_a_row = 0
            elif state == "half open":  # while open, a late answer to an earlier call does not count
                self._trials = max(0, self._trials - 1)
                self._passed += 1
                if self._passed >= self._half_open_calls:
                    self._opened_at, self._in_a_row = None, 0
                    self._period += 1

    def failed(self, allowed: int = 0) -> None:
        """Record that a call failed for a reason that is likely to affect the next call too.

        Args:
            allowed: What `allow` returned for the call.
        """
        with self._lock:
            if allowed not in (0, self._period):
                return
            now = self._clock()
            state = self._state(now)
            if state == "open":  # calls from before the opening may still fail, which does not prolong it
                return
            self._in_a_row += 1
            if state == "half open" or self._in_a_row >= self._failures:
                self._opened_at, self._trials, self._passed = now, 0, 0
                self._period += 1

    def gave_up(self, allowed: int = 0) -> None:
        """Record that a call ended without a result that says anything about the server. Its trial can be repeated.

        Args:
            allowed: What `allow` returned for the call.
        """
        if self._opened_at is None:
            return
        with self._lock:
            if allowed in (0, self._period):
                self._trials = max(0, self._trials - 1)

    def _state(self, now: float) -> State:
        if self._opened_at is None:
            return "closed"
        return "half open" if now - self._opened_at >= self._open_s else "open"
