"""Decide whether to retry a failed attempt, and after how long a pause. This module makes no calls and does not sleep.

Which errors: Predict, GetModelMetadata and GetModelStatus change nothing at the server. So an attempt that got no
answer (Unavailable) or was rejected before it ran (Overloaded) is sent again. Other errors are not retried: after
DEADLINE_EXCEEDED no time is left, an invalid request stays invalid, a server that failed (INTERNAL) is likely to fail
again, and an open circuit breaker is there to stop calls. `errors.CODES` says which status code becomes which error.

How often: at most `attempts` per call. Over all calls, retries are at most `budget_ratio` of them plus `budget_burst`,
because the retries of several layers of clients multiply. See `budget` (Finagle's RetryBudget allows a fifth, this
module a tenth).

How soon: an attempt without an answer goes to another endpoint at once, because waiting does not help. A rejected one
waits first, even if it goes to another endpoint, because queues tend to be full everywhere. The pause is drawn from
[0, ceiling), and the ceiling grows by `factor`. This "full jitter" (Brooker 2015, AWS Architecture Blog, "Exponential
Backoff And Jitter") keeps clients that failed together from returning together.
"""

from __future__ import annotations

import dataclasses
import math

from serving_client.budget import Budget
from serving_client.errors import CircuitOpen, Overloaded, ServingError, Unavailable

__all__ = ["Retry", "RetryBudget", "is_repeatable", "retry_delay_s"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retry:
    """How a client retries.

    Args:
        attempts: Requests per call, the first included. 1 disables retries.
        first_delay_s: Longest pause after the first attempt in seconds.
        factor: How much that bound grows with every attempt, from 1 to 10.
        max_delay_s: Largest bound of the pause in seconds.
        budget_ratio: Retries as a share of the calls, at most.
        budget_burst: Retries allowed beyond that share. A server that stops may drop this many requests at once.
        reconnect_s: With several targets, how long a call looks for a connected one while none is. This sends no
            request, so it is not a retry.

    Raises:
        ValueError: A value is out of its range.
    """

    attempts: int = 3
    first_delay_s: float = 0.01
    factor: float = 2.0
    max_delay_s: float = 0.5
    budget_ratio: float = 0.1
    budget_burst: float = 100
    reconnect_s: float = 1.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1 (the first request), got {self.attempts}")
        for name in ("first_delay_s", "max_delay_s", "reconnect_s"):
            value = getattr(self, name)
            if not (value >= 0.0 and math.isfinite(value)):
                raise ValueError(f"{name} must be a finite number of seconds of at least 0, got {value}")
        if not 1.0 <= self.factor <= 10.0:
            raise ValueError(f"factor must be between 1 and 10, got {self.factor}")
        Budget(self.budget_ratio, self.budget_burst)  # raises if either is out of its range


class RetryBudget(Budget):
    """The budget of one client, over all its calls and endpoints."""

    __slots__ = ()

    def __init__(self, config: Retry) -> None:
        super().__init__(config.budget_ratio, config.budget_burst)


def is_repeatable(error: ServingError) -> bool:
    """Return whether the request may succeed when sent again, for methods that change nothing at the server."""
    return isinstance(error, Unavailable | Overloaded) and not isinstance(error, CircuitOpen)


def retry_delay_s(
    config: Retry,
    attempt: int,
    error: ServingError,
    left_s: float,
    draw: float,
    *,
    elsewhere: bool = False,
    idempotent: bool = True,
) -> float | None:
    """Return the seconds to wait before the next attempt, or None for no further attempt. Ask the budget afterwards.

    Args:
        config: How to retry.
        attempt: Requests sent so far, 1 after the first.
        error: Error of the last attempt.
        left_s: Seconds left of the deadline. A longer pause gives None, because no time would be left for an answer.
        draw: Random number, uniform in [0, 1).
        elsewhere: Whether the next attempt goes to an endpoint that this call has not tried.
        idempotent: False for methods that must not be sent twice (reload_config).
    """
    if not idempotent or attempt >= config.attempts or not is_repeatable(error):
        return None
    if elsewhere and isinstance(error, Unavailable):
        delay_s = 0.0
    else:
        # At most 64 steps: no allowed factor overflows, and the ceiling is reached long before.
        grown_s = config.first_delay_s * config.factor ** min(attempt - 1, 64)
        delay_s = draw * min(config.max_delay_s, grown_s)
    return delay_s if delay_s < left_s else None
