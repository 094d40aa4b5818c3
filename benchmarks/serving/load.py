"""Run threads that make calls in a closed loop during an event on the servers, and record the result of every call.

A thread waits for its answer before the next call. If a rate is given, it also waits for its next turn. A server that
stalls therefore gets fewer calls during that time. Times are those of made calls, from their first attempt.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from serving_client import Recommendation
from serving_client.observing import Attempt, Call

__all__ = ["Attempts", "Done", "Load", "percentile_ms"]


class Done(NamedTuple):
    """A call that is over. failure: "" or the class of its error; attempts, version: of its answer, else 0, None."""

    started_at: float
    seconds: float
    failure: str
    attempts: int
    version: int | None


class Sent(NamedTuple):
    """A request that is over, by whatever end."""

    started_at: float
    target: str
    first: bool
    hedged: bool


class Attempts:
    """An Observer that keeps every attempt."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []

    def attempt(self, attempt: Attempt, /) -> None:
        """Appending is atomic."""
        first = attempt.number == 1
        self.sent.append(Sent(time.monotonic() - attempt.seconds, attempt.target, first, attempt.hedged))

    def call(self, call: Call, /) -> None:
        """Nothing: `Load` knows the calls."""


class Load:
    """Calls from `threads` threads from construction until `stop()`; a context manager.

    recommend: one call; one that answers other items than `expected` counts as failed. rate: calls a second of all
    threads together, 0 for as many as they can.
    """

    def __init__(
        self, recommend: Callable[[], Recommendation], expected: Sequence[str], threads: int, rate: float = 0.0
    ) -> None:
        self._recommend, self._expected = recommend, list(expected)
        self._interval_s = threads / rate if rate else 0.0
        self._stopped = threading.Event()
        self._done: list[Done] = []
        self._threads = [threading.Thread(target=self._ask, args=(number / threads,)) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> list[Done]:
        """All calls, when the last one is over."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        return self._done

    def wait_for(self, calls: int) -> None:
        """Returns when so many calls are over."""
        while len(self._done) < calls and any(thread.is_alive() for thread in self._threads):
            time.sleep(0.01)

    def _ask(self, phase: float) -> None:
        turn_at = time.monotonic() + phase * self._interval_s
        while not self._stopped.wait(max(0.0, turn_at - time.monotonic())):
            began_at = time.monotonic()
            turn_at = max(turn_at + self._interval_s, began_at)
            failure, attempts, version = "", 0, None
            try:
                found = self._recommend()
                attempts, version = found.attempts, found.version
                failure = "" if found.items == self._expected else "wrong items"
            except Exception as error:  # whatever a caller gets that is no answer
                failure = type(error).__name__
            self._done.append(Done(began_at, time.monotonic() - began_at, failure, attempts, version))


def percentile_ms(calls: Sequence[Done], rank: float) -> float:
    """A time that some call took: the smallest that this share of the calls stayed within."""
    return float(np.percentile([call.seconds * 1e3 for call in calls], rank, method="inverted_cdf"))
