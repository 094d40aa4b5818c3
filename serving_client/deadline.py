"""How much time is left for a call? One Deadline per call, handed to every attempt, never renewed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

__all__ = ["LONGEST_TIMEOUT_S", "Deadline", "checked_timeout_s"]

LONGEST_TIMEOUT_S = 86_400.0
"""A call without a deadline can hang for ever, and timers of the platform end somewhere above a day."""


def checked_timeout_s(timeout_s: float) -> float:
    """The same. Raises ValueError for one that is not above 0, or longer than a day."""
    if not 0.0 < timeout_s <= LONGEST_TIMEOUT_S:  # NaN compares false
        raise ValueError(f"timeout_s is {timeout_s}; it is above 0 and at most {LONGEST_TIMEOUT_S:g} seconds")
    return timeout_s


class Deadline:
    """A point on `clock`, `timeout_s` after `started_at_s`: a moment on it that has passed, None for now.

    timeout_s: seconds, at least 0; inf for a call that may take for ever. clock: monotonic seconds.
    Raises ValueError for a negative timeout or NaN. Immutable, hence safe to share between threads.
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
        """Seconds left, 0.0 once it is over; never above `timeout_s`."""
        return max(0.0, min(self._at - self._clock(), self.timeout_s))

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return self.left_s() <= 0.0

    def left_or_none_s(self) -> float | None:
        """`left_s` as grpc wants its `timeout`: None stands for no deadline."""
        left_s = self.left_s()
        return None if math.isinf(left_s) else left_s

    def __repr__(self) -> str:
        return f"Deadline({self.left_s():.3f} s left of {self.timeout_s:g} s)"
