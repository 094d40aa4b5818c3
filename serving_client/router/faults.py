"""What went wrong in a router without stopping it: counted by reason, and logged at most once a minute."""

from __future__ import annotations

import collections
import logging
import threading
import time
from collections.abc import Callable

__all__ = ["ALL_BANDITS", "Faults"]

_LOG = logging.getLogger("serving_client")
ALL_BANDITS = "*"
"""The bandit of a fault that belongs to the bandits file."""
_EVERY_S = 60.0
"""Least seconds between two log messages with one reason about one bandit."""


class Faults:
    """Counts faults by bandit and reason.

    Reasons:
        policy: A policy raised an exception, and the default arm was used.
        eligible: `eligible` names an arm that the bandit does not have.
        user_key: A user key cannot be logged, so the request counts as anonymous.
        config_hash: A snapshot belongs to other bandits-file content than the router's.
        removed_bandit: The new bandits file lacks a bandit, which the router keeps.
        items: The shown items are no list of ids, so a decision was logged without them.
        record: A decision could not be written as a line.

    `BanditsFollower` and `SnapshotFollower` describe further reasons.

    Args:
        clock: Monotonic time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: collections.Counter[tuple[str, str]] = collections.Counter()
        self._logged_at: dict[tuple[str, str], float] = {}

    def report(self, bandit_id: str, reason: str, message: str) -> None:
        """Count a fault, and log it unless one with the same reason was logged in the last minute.

        Args:
            bandit_id: Name of the bandit.
            reason: Reason, see the class.
            message: What happened and what to do. It holds no user information.
        """
        now_s, key = self._clock(), (bandit_id, reason)
        with self._lock:
            self._counts[key] += 1
            logged_at = self._logged_at.get(key)
            if logged_at is not None and now_s - logged_at < _EVERY_S:
                return
            self._logged_at[key] = now_s
        if bandit_id == ALL_BANDITS:
            _LOG.warning("router: %s", message)
        else:
            _LOG.warning("router, bandit %s: %s", bandit_id, message)

    def counts(self) -> dict[tuple[str, str], int]:
        """Return the number of faults by bandit and reason."""
        with self._lock:
            return dict(self._counts)

    def forked(self) -> None:
        """Replace the lock in a child process, where the thread that held it does not exist."""
        self._lock = threading.Lock()
