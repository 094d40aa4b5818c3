"""Counters of rare events by reason, that stay usable in a child after a fork."""

from __future__ import annotations

import os
import threading

__all__ = ["Counts"]

_lock = threading.Lock()  # one for all counters, because a child must get a new one


class Counts:
    """Counts events by reason. Thread-safe."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, reason: str) -> None:
        """Count one event."""
        with _lock:
            self._counts[reason] = self._counts.get(reason, 0) + 1

    def read(self) -> dict[str, int]:
        """Return the number of events by reason."""
        with _lock:
            return dict(self._counts)


def _forked() -> None:
    global _lock
    _lock = threading.Lock()  # the thread that held the old lock does not exist in the child


os.register_at_fork(after_in_child=_forked)
