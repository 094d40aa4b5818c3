"""The deadline of a call. All attempts of a call share one Deadline, which is never extended."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

__all__ = ["LONGEST_TIMEOUT_S", "Deadline", "checked_timeout_s"]

LONGEST_TIMEOUT_S = 86_400.0
"""Longest timeout: one day. A call without a deadline can hang forever, and platform timers do not go far beyond it."""


def checked_timeout_s(timeout_s: float) -> float:
    """Return the timeout if it is above 0 and at most a day.

    Raises:
        ValueError: The timeout is out of that range.
    """
    if not 0.0 < timeout_s <= LONGEST_TIMEOUT_S:  # NaN compares false
        raise ValueError(f"timeout_s must be above 0 and at most {LONGEST_TIMEOUT_S:g} seconds, got {timeout_s}")
    return timeout_s


class Deadline:
    """A point in time, `timeout_s` after the start. Immutable and safe to share between threads.

    Args:
        timeout_s: Seconds, at least 0. inf means no deadline.
        clock: Monotonic time in seconds.
        started_at_s: Time of the clock at which the timeout started. None starts it now.

    Raises:
        ValueError: The timeout is negative or NaN.
    """

    __slots__ = ("_at", "_clock", "timeout_s")

    def __init__(
        self, timeout_s: float, clock: Callable[[], float] = time.monotonic, started_at_s: float | None = None
    ) -> None:
        if not timeout_s >= 0.0:  # NaN compares false
            raise ValueError(f"timeout_s must be at least 0 seconds, got {timeout_s}")
        self.timeout_s = float(timeout_s)
        self._clock = clock
        self._at = (clock() if started_at_s is None else started_at_s) + self.timeout_s

    def left_s(self) -> float:
        """Return the seconds left, 0.0 once the deadline has passed, and never more than `timeout_s`."""
        return max(0.0, min(self._at - self._clock(), self.timeout_s))

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return self.left_s() <= 0.0

    def left_or_none_s(self) -> float | None:
        """Return `left_s`, or None for no deadline, as gRPC's `timeout` takes it."""
        left_s = self.left_s()
        return None if math.isinf(left_s) else left_s

    def __repr__(self) -> str:
        return f"Deadline({self.left_s():.3f} s left of {self.timeout_s:g} s)"
