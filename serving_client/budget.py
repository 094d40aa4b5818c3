"""A budget of extra requests: a token bucket that calls fill and extra requests empty.

Retries and hedges multiply the load when servers can bear it least. So both are bounded by a share of the calls, not by
a number per call. Finagle calls this a retry budget (RetryBudget: `percentCanRetry`, and a reserve that allows a few
retries before many calls were made). Here `burst` is the reserve, and there is no clock.
"""

from __future__ import annotations

import math
import threading

__all__ = ["Budget"]

_WHOLE = 1_000_000
"""Tokens are integers, in millionths, because sums of floats are not exact."""


class Budget:
    """A budget of extra requests. Thread-safe.

    Over any n calls in a row at most ratio n + max(burst, 1) extra requests are allowed, and over the first n calls
    ratio n + burst.

    Args:
        ratio: Extra requests per call, at least 0.
        burst: Tokens at the start. If it is at least 1, it is also the largest number of tokens that are saved.

    Raises:
        ValueError: A value is negative, infinite or NaN.
    """

    __slots__ = ("_deposit", "_lock", "_most", "_tokens")

    def __init__(self, ratio: float, burst: float) -> None:
        for name, value in (("ratio", ratio), ("burst", burst)):
            if not (value >= 0.0 and math.isfinite(value)):
                raise ValueError(f"{name} of a budget must be a finite number of at least 0, got {value}")
        self._deposit = math.floor(ratio * _WHOLE)
        self._tokens = math.floor(burst * _WHOLE)
        self._most = max(self._tokens, _WHOLE)  # with less than a whole token no request could ever be sent
        self._lock = threading.Lock()

    def deposit(self) -> None:
        """Record the start of a call, once per call and not per attempt."""
        with self._lock:
            self._tokens = min(self._most, self._tokens + self._deposit)

    def withdraw(self) -> bool:
        """Return whether an extra request may be sent now. If so, its token is spent."""
        with self._lock:
            if self._tokens < _WHOLE:
                return False
            self._tokens -= _WHOLE
            return True
