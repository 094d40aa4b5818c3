"""Records of calls for logs, metrics and traces: one per attempt, one per call.

Records hold names of models and servers, codes and times. They never hold an item, a history or an input.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable
from typing import Protocol, runtime_checkable

__all__ = ["Attempt", "Call", "Observer", "Starter", "start_call", "tell_attempt", "tell_call"]

_LOG = logging.getLogger("serving_client")


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """One request that was sent, after its answer, error or cancellation.

    Args:
        method: Last part of gRPC's path, as in "Predict".
        model: Model that was called.
        version: Version that was called. None for the latest or a label.
        target: `HOST:PORT` of the server.
        code: gRPC's code, as in "OK" or "UNAVAILABLE". CANCELLED also for the slower request of a hedge.
        seconds: Time from the request to its end.
        number: Number of the request within its call, from 1.
        hedged: Whether the request was sent beside a slow one.
        rung: "model", or the rung of a Fallback.
        call_id: Id of the request's Call.
    """

    method: str
    model: str
    version: int | None
    target: str
    code: str
    seconds: float
    number: int
    hedged: bool
    rung: str = "model"
    call_id: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """One call of a method of the client, with all its attempts.

    Args:
        method: Last part of gRPC's path, as in "Predict".
        model: Model that was called.
        version: Version that answered, or the version that was called if none answered.
        target: `HOST:PORT` of the server that got the last request. Empty if none was sent.
        code: gRPC's code of the outcome, as in "OK".
        seconds: Time of the whole call.
        attempts: Requests that were sent.
        hedged: Whether one of the requests was a hedge.
        error: Class of the error that was raised. Empty for none.
        rung: "model", or the rung of a Fallback.
        call_id: Number of the call within the process, from 1. 0 for a call that used several clients.
        not_found: Rungs of a Fallback that failed with NotFound in this call.
    """

    method: str
    model: str
    version: int | None
    target: str
    code: str
    seconds: float
    attempts: int
    hedged: bool
    error: str = ""
    rung: str = "model"
    call_id: int = 0
    not_found: tuple[str, ...] = ()


class Observer(Protocol):
    """Receives attempts and calls, on the thread or loop that made them. Its methods must return fast and not block."""

    def attempt(self, attempt: Attempt, /) -> None:
        """Handle the end of one request."""

    def call(self, call: Call, /) -> None:
        """Handle the end of a call."""


@runtime_checkable
class Starter(Protocol):
    """An Observer that also receives calls before they are sent."""

    def start(self, call_id: int, method: str, model: str, /) -> Iterable[tuple[str, str]]:
        """Handle the start of a call.

        Args:
            call_id: Id of the call. `call` with the same id ends it.
            method: Last part of gRPC's path, as in "Predict".
            model: Model that is called.

        Returns:
            Metadata to send with all attempts of the call.
        """


def start_call(observers: Iterable[Observer], call_id: int, method: str, model: str) -> list[tuple[str, str]]:
    """Call `start` of all observers that have it, and return their metadata. Exceptions of an observer are logged."""
    metadata: list[tuple[str, str]] = []
    for observer in observers:
        if isinstance(observer, Starter):
            try:
                metadata.extend(observer.start(call_id, method, model))
            except Exception:
                _LOG.exception("an observer failed: %s", type(observer).__name__)
    return metadata


def tell_attempt(observers: Iterable[Observer], attempt: Attempt) -> None:
    """Pass an attempt to all observers. Their exceptions are logged, because an observer must not fail the call."""
    for observer in observers:
        try:
            observer.attempt(attempt)
        except Exception:
            _LOG.exception("an observer failed: %s", type(observer).__name__)


def tell_call(observers: Iterable[Observer], call: Call) -> None:
    """Pass a call to all observers. Their exceptions are logged."""
    for observer in observers:
        try:
            observer.call(call)
        except Exception:
            _LOG.exception("an observer failed: %s", type(observer).__name__)
