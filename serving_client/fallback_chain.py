"""Decide which rung of a fallback chain is called next, how long it may take, and what its errors do.

A chain has one or more models, best first. Popularity is below them. It needs no server and cannot fail. `fallback` and
`aio_fallback` make the calls, and this module does no I/O.

One deadline covers the whole chain. A rung may use a share of the time left:

    1 - reserve   (70%)  while a later model can still be called
    1 - LAST      (95%)  if only popularity is left

Time that a rung does not use goes to the next rungs. A model whose breaker is open is skipped.

Errors of a rung:

    raised to the caller       ClientClosed, and InvalidRequest from the client, because the next model would reject the
                               same request.
    next rung, and counts      Unavailable, Overloaded, DeadlineExceeded, ServerFault, BadResponse, NotFound, NotReady,
      for the breaker          Unauthorized, Cancelled, and InvalidRequest from the server, because another model may
                               accept the request.
    next rung, and does not    NotSupported, because a model without `filtered` still answers calls without exclude.
      count for the breaker    DeadlineExceeded if the caller gave less time than the chain's default, because the
                               server may be healthy. An answer without items.

Any other exception (a TypeError, a cancelled task) is raised, and no breaker counts it.

NotFound is a mistake in the configuration, because the server is healthy and lacks the model. So a warning is logged,
at most once per rung in WARN_S, and `Call.not_found` lists the rung.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar

from serving_client.breaker import CircuitBreaker
from serving_client.deadline import Deadline, checked_timeout_s
from serving_client.errors import (
    BadResponse,
    Cancelled,
    CircuitOpen,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    NotReady,
    NotSupported,
    Overloaded,
    ServerFault,
    ServingError,
    Unauthorized,
    Unavailable,
)
from serving_client.observing import Call, Observer, tell_call
from serving_client.padding import checked_k, encode, listed
from serving_client.popularity import POPULARITY_RUNG, Popularity
from serving_client.results import Recommendation

__all__ = ["LAST", "RESERVE", "Chain", "Climb", "Rung", "Turn"]

_LOG = logging.getLogger("serving_client")
C = TypeVar("C")
"""The client of a rung: Client, aio.Client, or another with their `recommend`."""

RESERVE = 0.3
"""Share of the time left that a model leaves to the models after it. Healthy models answer about equally fast, so the
better one gets most of the time."""
LAST = 0.05
"""Share that the last model leaves. Popularity takes under 1 ms, and gRPC's timers fire a few milliseconds late."""
WARN_S = 60.0
"""Least seconds between two warnings about one rung."""
COUNTED = (
    *(Unavailable, Overloaded, DeadlineExceeded, ServerFault, BadResponse, NotFound, NotReady, Unauthorized, Cancelled),
)
FALLS_THROUGH = (*COUNTED, NotSupported)


@dataclasses.dataclass(frozen=True)
class Rung(Generic[C]):
    """A model behind a client, with a circuit breaker of its own. The rung does not close the client.

    Args:
        client: Client of the model.
        model: Model to call. The empty string calls the client's own.
        version: Version to call. None calls the client's own.
        version_label: Label to call instead of a version.
        name: Name in `Recommendation.rung`. By default "model NAME".
        breaker: Circuit breaker of this rung only.
    """

    client: C
    model: str = ""
    version: int | None = None
    version_label: str | None = None
    name: str = ""
    breaker: CircuitBreaker = dataclasses.field(default_factory=CircuitBreaker)

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", f"model {self.model}" if self.model else "model")

    def passed_over(self) -> bool:
        """Return whether the breaker would reject a call now."""
        return self.breaker.state == "open"


class Chain(Generic[C]):
    """The rungs and settings of a fallback, checked.

    Raises:
        ValueError: There is no rung, two rungs share a name or a breaker, or a time is out of range.
    """

    def __init__(
        self,
        rungs: Sequence[Rung[C]],
        popularity: Popularity,
        timeout_s: float,
        reserve: float,
        observers: Sequence[Observer],
        clock: Callable[[], float],
    ) -> None:
        if not rungs:
            raise ValueError("a fallback needs at least one rung with a model; popularity alone needs no chain")
        names = [rung.name for rung in rungs]
        for name in names:
            if name == POPULARITY_RUNG or names.count(name) > 1:
                raise ValueError(f"two rungs are called {name!r}; give one of them another name=")
        if len({id(rung.breaker) for rung in rungs}) < len(rungs):
            raise ValueError("two rungs share a circuit breaker; give each rung its own CircuitBreaker()")
        checked_timeout_s(timeout_s)
        if not LAST <= reserve < 1.0:
            raise ValueError(f"reserve must be at least {LAST} and below 1, got {reserve}")
        self.rungs = tuple(rungs)
        self.popularity = popularity
        self.timeout_s = timeout_s
        self.reserve = reserve
        self.observers = tuple(observers)
        self.clock = clock
        self._lock = threading.Lock()
        self._warned_at: dict[str, float] = {}
        self._unlogged: dict[str, int] = {}

    def not_found(self, rung: str, error: NotFound) -> None:
        """Log a warning about a rung whose model the server lacks, unless one was logged less than WARN_S ago."""
        now = self.clock()
        with self._lock:
            self._unlogged[rung] = self._unlogged.get(rung, 0) + 1
            if now - self._warned_at.get(rung, -math.inf) < WARN_S:
                return
            self._warned_at[rung] = now
            count = self._unlogged.pop(rung)
        calls = "1 call" if count == 1 else f"{count} calls"
        _LOG.warning("fallback: rung %r failed with NotFound in %s since the last warning: %s", rung, calls, error)

    def climb(
        self,
        history: Sequence[str],
        exclude: Sequence[str],
        k: int | None,
        timeout_s: float | None,
        rungs: Sequence[Rung[C]] | None = None,
    ) -> Climb[C]:
        """Begin one call of `recommend`.

        Args:
            history: Item ids, oldest first.
            exclude: Item ids that are not recommended.
            k: Number of items at most, or None.
            timeout_s: Deadline of the call in seconds, or None for the chain's.
            rungs: Rungs of the chain to call, best first. None calls all of them.

        Raises:
            InvalidRequest: An argument is invalid, whichever rung would answer.
        """
        asked = _ids(history, "history"), _ids(() if exclude is None else exclude, "exclude")
        k = checked_k(k)
        try:
            timeout_s = self.timeout_s if timeout_s is None else checked_timeout_s(timeout_s)
        except ValueError as error:
            raise InvalidRequest(str(error)) from None
        return Climb(self, self.rungs if rungs is None else rungs, *asked, k, timeout_s)


class Climb(Generic[C]):
    """One call of a fallback. When the `with` block ends, the observers get a Call with the method "Fallback".

    Iterating gives the models to call, in order. The caller calls each model in a `with turn:` block, which drops the
    errors that lead to the next rung. It returns `turn.answered(…)` at the first answer with items, or `popular()`
    after the last turn.

    `failures` tells by rung why a rung that was passed did not answer: the class of the error, `CircuitOpen` for a
    breaker that is open, or `NoItems`.
    """

    def __init__(
        self,
        chain: Chain[C],
        rungs: Sequence[Rung[C]],
        history: list[str],
        exclude: list[str],
        k: int | None,
        timeout_s: float,
    ) -> None:
        self._rungs = rungs
        self._chain, self.history, self.exclude, self.k = chain, history, exclude, k
        self._started_at = chain.clock()
        self._deadline = Deadline(timeout_s, chain.clock)
        self._whole_time = timeout_s >= chain.timeout_s
        self._attempts = 0
        self._not_found: list[str] = []
        self._answer: Recommendation | None = None
        self.failures: dict[str, str] = {}

    def __iter__(self) -> Iterator[Turn[C]]:
        rungs = self._rungs
        for place, rung in enumerate(rungs):
            later = not all(other.passed_over() for other in rungs[place + 1 :])
            timeout_s = self._deadline.left_s() * (1.0 - (self._chain.reserve if later else LAST))
            if timeout_s <= 0.0:
                self.failures[rung.name] = "DeadlineExceeded"
            elif allowed := rung.breaker.allow():
                self.failures[rung.name] = "NoItems"  # unless the turn sets another or the caller takes the answer
                yield Turn(self, rung, timeout_s, self._whole_time, allowed)
            else:
                self.failures[rung.name] = "CircuitOpen"

    def __enter__(self) -> Climb[C]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._chain.observers:
            return
        answer = self._answer
        call = Call(
            method="Fallback",
            model=answer.model if answer else "",
            version=answer.version if answer else None,
            target=answer.target if answer else "",
            code="OK" if kind is None else "UNKNOWN",
            seconds=self._chain.clock() - self._started_at,
            attempts=self._attempts,
            hedged=False,
            error=kind.__name__ if kind else "",
            rung=answer.rung if answer else "",
            not_found=tuple(self._not_found),
        )
        tell_call(self._chain.observers, call)

    def count(self, attempts: int) -> None:
        """Add the requests that a rung sent to the record of the call."""
        self._attempts += attempts

    def not_found(self, rung: str, error: NotFound) -> None:
        """Log that the model of a rung does not exist, and add the rung to the record of the call."""
        self._not_found.append(rung)
        self._chain.not_found(rung, error)

    def keep(self, answer: Recommendation) -> Recommendation:
        """Keep the answer for the record of the call, and return it."""
        self._answer = answer
        return answer

    def popular(self) -> Recommendation:
        """Return the popular items, which need no server."""
        return self.keep(self._chain.popularity.recommend(self.history, exclude=self.exclude, k=self.k))


class Turn(Generic[C]):
    """One call of one rung. The `with` block reports the outcome to the rung's breaker."""

    def __init__(self, climb: Climb[C], rung: Rung[C], timeout_s: float, whole_time: bool, allowed: int) -> None:
        self._climb, self._rung, self._whole_time, self._allowed = climb, rung, whole_time, allowed
        self.client = rung.client
        self.arguments: dict[str, Any] = {
            "exclude": climb.exclude,
            "k": climb.k,
            "timeout_s": timeout_s,
            "model": rung.model or None,
            "version": rung.version,
        }
        if rung.version_label is not None:  # not every client takes a label
            self.arguments["version_label"] = rung.version_label

    def answered(self, answer: Recommendation) -> Recommendation:
        """Return the answer with the name of this rung."""
        self._climb.count(answer.attempts)
        return self._climb.keep(dataclasses.replace(answer, rung=self._rung.name))

    def __enter__(self) -> Turn[C]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Return True, which drops the error, if the next rung is called."""
        if error is None:
            self._rung.breaker.succeeded(self._allowed)
            return False
        if isinstance(error, ServingError):
            self._climb.count(error.attempts)
        self._climb.failures[self._rung.name] = type(error).__name__
        if isinstance(error, NotFound):
            self._climb.not_found(self._rung.name, error)
        if self._counts(error):
            self._rung.breaker.failed(self._allowed)
        else:
            self._rung.breaker.gave_up(self._allowed)
        return isinstance(error, FALLS_THROUGH) or _refused(error)

    def _counts(self, error: BaseException) -> bool:
        if isinstance(error, DeadlineExceeded):
            return self._whole_time
        # CircuitOpen: the call was not sent, so it shows nothing new about the server.
        return (isinstance(error, COUNTED) and not isinstance(error, CircuitOpen)) or _refused(error)


def _refused(error: BaseException) -> bool:
    """Return whether the server, not the client, rejected the request as invalid."""
    return isinstance(error, InvalidRequest) and error.attempts > 0


def _ids(ids: Sequence[str], name: str) -> list[str]:
    """Return the ids as a list, which several rungs can read. Raise InvalidRequest as a client does."""
    found = list(listed(ids, name))
    encode(found, name)
    return found
