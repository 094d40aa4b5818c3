"""May one more request be sent than there are calls? A token bucket that calls fill and extra requests empty.

Retries and hedges multiply the load at the moment when servers can bear it least, so both are bounded by a share of
the calls, not by a number per call. Finagle calls it a retry budget (RetryBudget: `percentCanRetry`, and a reserve so
that a few retries are possible before many calls were made); here the reserve is `burst`, there is no clock.
"""

from __future__ import annotations

import math
import threading

__all__ = ["Budget"]

_WHOLE = 1_000_000
"""Tokens are counted in millionths: sums of integers are exact, ten times 0.1 is not."""


class Budget:
    """Over any run of n calls at most ratio n + max(burst, 1) extra requests; the first n calls: ratio n + burst.

    ratio: extra requests per call, at least 0. burst: tokens at the start and, from 1 on, the most that are saved.
    Raises ValueError for a negative, infinite or NaN value. Thread-safe.
    """

    __slots__ = ("_deposit", "_lock", "_most", "_tokens")

    def __init__(self, ratio: float, burst: float) -> None:
        for name, value in (("ratio", ratio), ("burst", burst)):
            if not (value >= 0.0 and math.isfinite(value)):
                raise ValueError(f"{name} of a budget must be a finite number of at least 0, got {value}")
        self._deposit = math.floor(ratio * _WHOLE)
        self._tokens = math.floor(burst * _WHOLE)
        self._most = max(self._tokens, _WHOLE)  # less than one whole token could never be spent
        self._lock = threading.Lock()

    def deposit(self) -> None:
        """A call begins (once per call, not per attempt)."""
        with self._lock:
            self._tokens = min(self._most, self._tokens + self._deposit)

    def withdraw(self) -> bool:
        """Whether an extra request may be sent now; its token is spent if so."""
        with self._lock:
            if self._tokens < _WHOLE:
                return False
            self._tokens -= _WHOLE
            return True
