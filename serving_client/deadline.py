"""How much time is left for a call? One Deadline per call, handed to every attempt, never renewed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

__all__ = ["Deadline"]


class Deadline:
    """A point on `clock`, `timeout_s` after construction.

    timeout_s: seconds, at least 0; inf for a call that may take for ever. clock: monotonic seconds.
    Raises ValueError for a negative timeout or NaN. Immutable, hence safe to share between threads.
    """

    __slots__ = ("_at", "_clock", "timeout_s")

    def __init__(self, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        if not timeout_s >= 0.0:  # NaN compares false
            raise ValueError(f"timeout_s must be at least 0 seconds, got {timeout_s}")
        self.timeout_s = float(timeout_s)
        self._clock = clock
        self._at = clock() + self.timeout_s

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
