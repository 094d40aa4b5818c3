"""What happened in a call, for logs, metrics and traces: one record an attempt, one a call, no user data in either.

Records hold names of models and servers, codes and times; never an item, a history or an input.
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
    """One request that was sent, when its answer, its error or its cancellation is there.

    method: the last part of gRPC's path, as in "Predict". version: what was asked for, None for the latest or a
    label. code: gRPC's, as in "OK" or "UNAVAILABLE"; CANCELLED also for the loser of a hedge. number: from 1. hedged:
    sent beside another that was slow. rung: "model", or the step of a Fallback. call_id: as in its Call.
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

    version: what answered, or what was asked for where nothing did. target: who was asked last, "" for nobody.
    code: gRPC's code of the outcome, as in "OK". error: class of the error that was raised, "" for none. attempts:
    requests that were sent. hedged: whether one of them was a hedge. call_id: counts the calls of a process from 1,
    0 for a call that went through several clients.
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


class Observer(Protocol):
    """Told of attempts and calls, on the thread or loop that made them: return fast, and do not block."""

    def attempt(self, attempt: Attempt, /) -> None:
        """One request is over."""

    def call(self, call: Call, /) -> None:
        """A call is over."""


@runtime_checkable
class Starter(Protocol):
    """An Observer that is told of calls before they are sent, too."""

    def start(self, call_id: int, method: str, model: str, /) -> Iterable[tuple[str, str]]:
        """A call begins; returns metadata to send with all its attempts. `call` with the same id ends it."""


def start_call(observers: Iterable[Observer], call_id: int, method: str, model: str) -> list[tuple[str, str]]:
    """Tells those that want to know, and returns the metadata of all; what an observer raises is logged."""
    metadata: list[tuple[str, str]] = []
    for observer in observers:
        if isinstance(observer, Starter):
            try:
                metadata.extend(observer.start(call_id, method, model))
            except Exception:
                _LOG.exception("an observer failed: %s", type(observer).__name__)
    return metadata


def tell_attempt(observers: Iterable[Observer], attempt: Attempt) -> None:
    """Tells all; what an observer raises is logged, for no call may fail because it is watched."""
    for observer in observers:
        try:
            observer.attempt(attempt)
        except Exception:
            _LOG.exception("an observer failed: %s", type(observer).__name__)


def tell_call(observers: Iterable[Observer], call: Call) -> None:
    """Tells all; what an observer raises is logged."""
    for observer in observers:
        try:
            observer.call(call)
        except Exception:
            _LOG.exception("an observer failed: %s", type(observer).__name__)
